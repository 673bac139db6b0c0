import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import type { Page } from 'playwright-core'
import { startScriptedModel } from '../../emulator/model/index.js'
import { noBrowser, openBrowser, openPage } from '../helpers/browser.js'
import { finished, scripted, send } from '../helpers/chat.js'
import { freePort } from '../helpers/port.js'
import { openStage } from '../helpers/stage.js'

const skip = noBrowser || (process.env.TEST_LIVE === '1' && 'kills the service, not Modal')
/** Five seconds of text in which every word occurs once. */
const count = Array.from({ length: 100 }, (_, n) => `n${n}`).join(' ')
const counting = scripted([[{ text: `${count}. `, chunk: 8, delayMs: 100 }, { tool: 'Bash', input: { command: 'echo counted' } }], [{ text: 'The end.' }]])
/** The same words, with a silence in the middle in which no event moves the time of the latest one. */
const [firstHalf, secondHalf] = [count.slice(0, count.indexOf('n50')), count.slice(count.indexOf('n50'))]
const pausing = scripted([[{ text: firstHalf }, { tool: 'Bash', input: { command: 'sleep 6' } }], [{ text: secondHalf, chunk: 8, delayMs: 20 }]])

t.test('Failures between the page and the service', { skip }, async (t) => {
  const model = await startScriptedModel()
  const port = String(await freePort())
  const stage = await openStage({ PORT: port, ANTHROPIC_BASE_URL: model.url, ANTHROPIC_API_KEY: model.apiKey })
  const [browser, first] = await Promise.all([openBrowser(), stage.startReplica()])
  t.teardown(async () => {
    await browser.close()
    await stage.close()
    await model.close()
  })
  const { page, allow } = await openPage(t, browser, first.url)
  allow(/^error: Failed to load resource: net::ERR_/)
  await page.clock.install()
  await page.addInitScript(fakeNotifications)
  await page.goto(first.url)
  await page.getByLabel('API key').fill(first.apiKey)
  await page.getByLabel('API key').press('Enter')
  await page.getByRole('button', { name: 'New sandbox' }).click()
  await page.locator('.welcome').waitFor()

  await t.test('The service is killed during an answer and starts again: no word is lost or shown twice', async (t) => {
    await send(page, counting)
    await page.locator('.turn').last().locator('.markdown', { hasText: 'n10 ' }).waitFor()
    const states = statesUntilEnd(page)
    await first.kill()
    await page.locator('.connection[data-state=reconnecting]').waitFor()
    t.match(await page.locator('.activity').innerText(), /Connection lost, reconnecting…/)
    t.equal(await page.locator('#status').innerText(), 'The connection was lost')
    await sleep(500)
    await stage.startReplica()
    await finished(page)
    t.strictSame((await states), ['reconnecting', 'connected'])
    t.equal(await counted(page), count)
    t.match(await page.locator('.run-footer').last().innerText(), /^Done/)
  })

  await t.test('The network is lost and comes back', async (t) => {
    await sendAndAwaitSilence(page)
    const states = statesUntilEnd(page)
    await page.context().setOffline(true)
    // This does not break an open connection, so the clock is advanced beyond the silence timeout, too.
    await page.clock.fastForward(60_000)
    await page.locator('.connection[data-state=reconnecting]').waitFor()
    await sleep(500)
    await page.context().setOffline(false)
    await finished(page)
    t.strictSame((await states), ['reconnecting', 'connected'])
    t.equal(await counted(page), count)
  })

  await t.test('After the machine slept, the dead stream is detected and resumed', async (t) => {
    await sendAndAwaitSilence(page)
    const states = statesUntilEnd(page)
    await page.clock.fastForward(120_000)
    await finished(page)
    t.strictSame((await states), ['reconnecting', 'connected'])
    t.equal(await counted(page), count)
  })

  await t.test('Without a run a lost connection is detected, too; a prompt waits until it can be sent, or is restored', async (t) => {
    await page.context().setOffline(true)
    await page.locator('.connection[data-state=reconnecting]').waitFor()
    await send(page, 'Are you there?')
    await page.locator('.activity', { hasText: 'reconnecting' }).waitFor()
    await page.keyboard.press('Escape')
    await page.getByRole('alert').getByText('You stopped before the service could be reached.').waitFor()
    t.equal(await page.getByLabel('Prompt', { exact: true }).inputValue(), 'Are you there?')
    await send(page, scripted([[{ text: 'Yes.' }]]))
    await page.locator('.activity', { hasText: 'reconnecting' }).waitFor()
    await page.context().setOffline(false)
    await finished(page)
    t.match(await page.locator('.turn').last().innerText(), /Yes\./)
    await page.locator('.connection[data-state=connected]').waitFor()
  })

  await t.test('Notifications tell the end of a run, once enabled; the title shows it until the page is visible', async (t) => {
    t.strictSame(await page.evaluate('[asked, told]'), [0, []], 'permission was not requested before')
    await page.getByRole('button', { name: 'Notify me when Claude is done' }).click()
    await page.getByRole('button', { name: 'Notifications are on' }).waitFor()
    await page.evaluate('hide(true)')
    await send(page, scripted([[{ text: 'Well.' }]]))
    await finished(page)
    t.match(await page.title(), /^\(!\) Claude has finished · .* · Modal Sandbox$/)
    await send(page, scripted([{ error: { status: 400, type: 'invalid_request_error', message: 'No.' } }]))
    await finished(page)
    t.match(await page.title(), /^\(!\) The run failed · .* · Modal Sandbox$/)
    t.match(await page.evaluate('told'), [['Claude has finished', /^Play this/], ['The run failed', /^Play this/]])
    await page.evaluate('hide(false)')
    t.match(await page.title(), /^[^(●].* · Modal Sandbox$/)
    await page.getByRole('button', { name: 'Notifications are on' }).click()
    await page.evaluate('hide(true)')
    await send(page, scripted([[{ text: 'Quietly.' }]]))
    await finished(page)
    t.equal(await page.evaluate('told.length'), 2, 'and not when it was turned off')
    t.equal(await page.evaluate('asked'), 1)
    await page.evaluate('hide(false)')
  })
})

/** Until {@link pausing} runs its tool. */
async function sendAndAwaitSilence (page: Page) {
  await send(page, pausing)
  await page.locator('.turn').last().locator('.tool').waitFor()
  await sleep(500)
}

/** The numbered words in the latest answer. */
async function counted (page: Page) {
  return (await page.locator('.turn').last().locator('.claude').innerText()).match(/n\d+/g)?.join(' ')
}

/** The states of the connection, as shown until the run has ended. */
async function statesUntilEnd (page: Page): Promise<string[]> {
  return await page.evaluate(`new Promise((resolve) => {
    const states = []
    const dot = document.querySelector('.connection'), turn = [...document.querySelectorAll('.turn')].at(-1)
    const observer = new MutationObserver(() => {
      if (states.at(-1) !== dot.dataset.state && (states.length > 0 || dot.dataset.state !== 'connected')) states.push(dot.dataset.state)
      if (!turn.querySelector('.run-footer')) return
      observer.disconnect()
      resolve(states)
    })
    observer.observe(document.querySelector('.chat'), { childList: true, subtree: true, attributes: true })
  })`)
}

/** Real notifications can be neither granted nor observed in a test. */
const fakeNotifications = `
  window.asked = 0
  window.told = []
  window.Notification = class {
    static permission = 'default'
    static async requestPermission () {
      asked++
      if (!navigator.userActivation.isActive) throw new Error('not asked for by a gesture')
      return this.permission = 'granted'
    }

    constructor (title, { body }) { told.push([title, body]) }
  }
  window.hide = (hidden) => {
    Object.defineProperty(document, 'visibilityState', { value: hidden ? 'hidden' : 'visible', configurable: true })
    document.dispatchEvent(new Event('visibilitychange'))
  }
`
