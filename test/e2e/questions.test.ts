import { setTimeout as sleep } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { noBrowser, openBrowser, openPage } from '../helpers/browser.js'
import { finished, local, scripted, send } from '../helpers/chat.js'
import { keys, startService } from '../helpers/service.js'

const option = (label: string, description = `It is ${label}`) => ({ label, description })
const colour = { question: 'Which colour do you like?', header: 'Colour', multiSelect: false, options: [option('Red'), { ...option('Blue', ''), preview: 'blue <b>' }] }
const sizes = { question: 'Which sizes <b>fit</b>?', header: 'Sizes', multiSelect: true, options: [option('S'), option('M'), option('L')] }
const ask = (...questions: object[]) => [{ tool: 'AskUserQuestion', input: { questions } }]
const bash = (command: string) => [{ tool: 'Bash', input: { command } }]
const end = [{ text: 'The end.' }]

if (noBrowser || process.env.TEST_LIVE === '1') {
  t.test('Questions in a real browser', { skip: noBrowser || 'the page test drives the scripted model' }, async () => {})
} else {
  const browser = await openBrowser()
  t.teardown(() => browser.close())

  t.test('Claude asks on the page', async (t) => {
    const service = await startService(local)
    t.teardown(() => service.close())
    const signIn = async (t: Test, options: object = {}) => {
      const { page } = await openPage(t, browser, service.url, { reducedMotion: 'reduce', ...options })
      await page.goto(service.url)
      await page.getByLabel('API key').fill(keys.alice)
      await page.getByLabel('API key').press('Enter')
      return page
    }
    const page = await signIn(t)
    await page.getByRole('button', { name: 'New sandbox' }).click()
    await page.locator('.welcome').waitFor()
    const turn = page.locator('.turn').last()
    const open = turn.locator('.permission[data-state=open]')
    /** Digits, letters and Enter go where the focus is: waits until the card has it. */
    const focusOn = async (selector: string) => {
      while (!await page.evaluate(`document.activeElement.matches(${JSON.stringify(selector)})`)) await sleep(20)
    }

    await t.test('A question survives a reload, and is answered with digits and Enter', async (t) => {
      await send(page, scripted([ask(colour, sizes), end]))
      await open.waitFor()
      t.match(await open.innerText(), /Claude has 2 questions[^]*Colour\s*Which colour do you like\?[^]*Red[^]*It is Red[^]*Which sizes <b>fit<\/b>\?/)
      await page.locator('.activity[data-waiting]', { hasText: 'Waiting for you' }).waitFor()
      await turn.locator('.tool[data-state=waiting]', { hasText: 'Waiting for you' }).waitFor()
      t.match(await page.title(), /^Waiting for you · /)
      await page.locator('#status', { hasText: 'Claude has a question. Which colour do you like?' }).waitFor({ state: 'attached' })
      await page.reload()
      await open.waitFor()
      await page.locator('.activity[data-waiting]', { hasText: 'Waiting for you' }).waitFor()

      await focusOn('.permission')
      await page.keyboard.press('Enter')
      await open.getByText('Answer this, too: Which colour do you like?').waitFor()
      await page.keyboard.press('2')
      t.ok(await open.getByLabel('Blue').isChecked())
      t.ok(await page.evaluate('document.activeElement.name.endsWith("-1")'), 'the next question has the focus')
      for (const key of ['1', '3', '2', '2']) await page.keyboard.press(key)
      await page.keyboard.press('Enter')
      await turn.locator('.permission[data-state=allow]', { hasText: 'Answered' }).waitFor()
      await finished(page)
      t.match(await turn.locator('.answers').innerText(), /Which colour do you like\?\s+Blue\s+Which sizes <b>fit<\/b>\?\s+S, L/)
      t.equal(await page.evaluate('document.activeElement.id'), 'prompt', 'the focus is back where it was')
      await turn.locator('.tool[data-tool=AskUserQuestion] > summary').click()
      await turn.locator('.tool-result', { hasText: '"Which colour do you like?"="Blue", "Which sizes <b>fit</b>?"="S, L"' }).waitFor()
    })

    await t.test('Who writes is not disturbed; another answer is given in words, and one may be skipped', async (t) => {
      await send(page, scripted([bash('sleep 1'), ask(colour), ask(sizes), end]))
      await page.getByLabel('Prompt', { exact: true }).fill('A follow-up in ')
      await open.waitFor()
      await page.getByLabel('Prompt', { exact: true }).press('End')
      await page.keyboard.type('2 lines')
      t.equal(await page.getByLabel('Prompt', { exact: true }).inputValue(), 'A follow-up in 2 lines')
      await page.getByLabel('Prompt', { exact: true }).fill('')
      await open.getByLabel('Red').check()
      await open.getByLabel('Another answer: Which colour').fill('Green <i>"or so"</i>')
      t.notOk(await open.getByLabel('Red').isChecked(), 'only one counts')
      await page.keyboard.press('Enter')
      await turn.locator('.permission[data-state=allow] .answers', { hasText: 'Green <i>"or so"</i>' }).waitFor()
      await open.getByRole('button', { name: 'Skip' }).click()
      await turn.locator('.permission[data-state=deny]', { hasText: 'Not answered' }).waitFor()
      await finished(page)
      await turn.locator('.tool[data-state=denied]', { hasText: 'Not answered' }).waitFor()
    })

    await t.test('Who begins to write while a question has the focus, writes a prompt', async (t) => {
      await send(page, scripted([ask(colour), end]))
      await open.waitFor()
      await focusOn('.permission')
      await page.keyboard.type('hello 1')
      t.equal(await page.getByLabel('Prompt', { exact: true }).inputValue(), 'hello 1')
      await page.getByLabel('Prompt', { exact: true }).fill('')
      await page.keyboard.press('Escape')
      await turn.locator('.permission[data-state=deny]', { hasText: 'Not answered, because the run ended' }).waitFor()
      await finished(page)
    })

    await t.test('Of what is higher than the window the beginning is shown, and after the answer the page follows again', async (t) => {
      await page.setViewportSize({ width: 1280, height: 500 })
      await send(page, scripted([ask(colour, sizes), [{ text: 'Line\n\n', repeat: 40 }]]))
      await open.waitFor()
      await focusOn('.permission')
      const place = (selector: string) => `[...document.querySelectorAll('${selector}')].at(-1).getBoundingClientRect().top`
      // The page forbids to evaluate strings, which waiting for a function takes.
      const becomes = async (condition: string) => {
        for (let tries = 0; tries < 200 && !await page.evaluate(condition); tries++) await sleep(50)
        t.ok(await page.evaluate(condition), condition)
      }
      await becomes(`${place('.permission-head')} > 50`)
      for (const key of ['1', '1', 'Enter']) await page.keyboard.press(key)
      await finished(page)
      await becomes(`${place('.run-footer')} < 500`)
      await page.setViewportSize({ width: 1280, height: 800 })
    })

    await t.test('An answer that another browser gave is shown, also after a reload', async (t) => {
      await send(page, scripted([ask(colour), bash('sleep 3'), end]))
      await open.waitFor()
      const phone = await signIn(t, { viewport: { width: 390, height: 800 }, hasTouch: true, isMobile: true })
      await phone.getByRole('button', { name: /^Continue with/ }).tap()
      const card = phone.locator('.permission[data-state=open]')
      await card.getByText('It is Red').tap()
      await card.getByRole('button', { name: 'Answer' }).tap()
      await turn.locator('.permission[data-state=allow] .answers', { hasText: 'Red' }).waitFor()
      await page.reload()
      await turn.locator('.permission[data-state=allow] .answers', { hasText: 'Red' }).waitFor()
      t.ok(await phone.evaluate('document.documentElement.scrollWidth <= innerWidth'), 'nothing is wider than the phone')
      await finished(page)
    })

    await t.test('A plan is shown as Markdown, goes back with a word, and is approved with full access', async (t) => {
      await page.getByLabel('What Claude may do').selectOption('Plan first')
      const present = [{ tool: 'ExitPlanMode', input: {} }]
      await send(page, scripted([
        [{ plan: '# The plan\n\n1. Write `a.txt` <img src=x onerror=alert(1)>\n\n| a | b |\n|---|---|\n| 1 | 2 |' }], present, [{ plan: '# Another' }], present, bash('touch planned.txt'), end
      ]))
      await open.waitFor()
      t.match(await open.innerText(), /Claude has a plan and wants to start/)
      t.equal(await open.locator('.plan h3').innerText(), 'The plan')
      t.match(await open.locator('.plan ol').innerText(), /Write a\.txt <img src=x/)
      t.match(await page.title(), /^Waiting for you · /)
      await open.getByLabel('What should be different?').fill('Do *less*')
      await page.keyboard.press('Enter')
      await turn.locator('.permission[data-state=deny]', { hasText: 'Sent back' }).waitFor()
      await turn.locator('.tool[data-tool=ExitPlanMode] .tool-error', { hasText: 'Do *less*' }).waitFor()
      await page.reload()
      await page.locator('.permission[data-state=open] .plan', { hasText: 'Another' }).waitFor()
      t.match(await open.getByLabel('How Claude goes on').innerText(), /full access[^]*without asking[^]*ask before/)
      await open.getByRole('button', { name: 'Approve' }).click()
      await turn.locator('.permission[data-state=allow]', { hasText: 'Approved' }).waitFor()
      await finished(page)
      await turn.locator('.tool[data-tool=Bash][data-state=done]').waitFor()
      t.equal(await turn.locator('.permission').count(), 2)
    })

    await t.test('What is always allowed in a run is not asked again', async (t) => {
      await page.getByLabel('What Claude may do').selectOption('Ask first')
      await send(page, scripted([bash('touch one.txt'), bash('touch two.txt; rm two.txt'), end]))
      await open.getByRole('button', { name: 'Always allow in this run' }).click()
      await finished(page)
      t.equal(await turn.locator('.permission').count(), 1)
      t.equal(await turn.locator('.tool[data-tool=Bash][data-state=done]').count(), 2)
    })
  })
}
