import t from 'tap'
import { noBrowser } from '../helpers/browser.js'
import { openChat, scripted, send } from '../helpers/chat.js'

const skip = noBrowser || (process.env.TEST_LIVE === '1' && 'drives the scripted model')

t.test('Options of runs in a real browser', { skip }, async (t) => {
  const { page } = await openChat(t)
  const summary = page.locator('.run-options summary')
  const field = (name: string) => page.locator('.run-options').getByLabel(name, { exact: true })
  const isOpen = async () => await field('Effort').isVisible()
  /** Runs a prompt. @returns what the page has asked for and the footer of the turn. */
  const run = async () => {
    const before = await page.locator('.run-footer').count()
    const [request] = await Promise.all([
      page.waitForRequest((request) => request.method() === 'POST' && request.url().endsWith('/claude')),
      send(page, scripted([[{ text: 'Done.' }]]))
    ])
    await page.locator('.run-footer').nth(before).waitFor()
    const { model, effort, permissionMode } = request.postDataJSON()
    return { model, effort, permissionMode, footer: await page.locator('.run-footer').nth(before).innerText() }
  }

  await t.test('Without a choice the CLI decides', async (t) => {
    const { footer, ...asked } = await run()
    t.strictSame(asked, { model: undefined, effort: undefined, permissionMode: undefined })
    t.match(footer, /^Done/)
    t.equal(await summary.getAttribute('aria-label'), 'More run options')
  })

  await t.test('Model and effort are chosen with the keyboard, stand beside the button, and count for the next run', async (t) => {
    await summary.focus()
    await page.keyboard.press('Enter')
    await page.keyboard.press('Tab')
    t.equal(await page.evaluate('document.activeElement.id'), 'run-model')
    t.strictSame(await field('Model').locator('option').allTextContents(), ['Default', 'Opus', 'Sonnet', 'Haiku', 'Fable', 'Another…'])
    await page.keyboard.type('Son')
    await page.keyboard.press('Tab')
    await page.keyboard.type('Ver')
    await page.keyboard.press('Escape')
    t.equal(await isOpen(), false)
    t.equal(await summary.innerText(), 'Sonnet, very high effort')
    t.equal(await summary.getAttribute('aria-label'), 'More run options: Sonnet, very high effort')
    const { footer, ...asked } = await run()
    t.strictSame(asked, { model: 'sonnet', effort: 'xhigh', permissionMode: undefined })
    t.match(footer, /^Done/)
    t.match(await page.locator('.usage-details').textContent(), /claude-sonnet-/)
  })

  await t.test('The choice is kept, also for a model that has no name here', async (t) => {
    await page.reload()
    await page.locator('.run-footer').nth(1).waitFor()
    t.equal(await summary.innerText(), 'Sonnet, very high effort')
    await summary.click()
    await field('Model').selectOption('Another…')
    t.equal(await page.evaluate('document.activeElement.id'), 'run-model-id')
    await field('Model id').fill('claude-haiku-5-5')
    await field('Effort').selectOption('Default')
    await page.keyboard.press('Escape')
    await page.reload()
    await page.locator('.run-footer').nth(1).waitFor()
    t.equal(await summary.innerText(), 'claude-haiku-5-5')
    t.match(await run(), { model: 'claude-haiku-5-5', effort: undefined, footer: /^Done/ })
    await summary.click()
    await field('Model id').fill('--not a model')
    await field('Effort').selectOption('Low')
    t.equal(await field('Model id').evaluate((input: any) => input.matches(':invalid')), true)
    await page.keyboard.press('Escape')
    t.match(await run(), { model: undefined, effort: 'low' }, 'what is no name is not sent')
    t.equal(await summary.innerText(), 'Low effort')
  })

  await t.test('What Claude may do is said in the words of the CLI, and edits can be accepted', async (t) => {
    const mode = page.getByLabel('What Claude may do')
    t.strictSame(await mode.locator('option').allTextContents(), ['Full access', 'Accept edits', 'Ask first', 'Plan first'])
    await mode.selectOption('Accept edits')
    t.match(await run(), { permissionMode: 'acceptEdits', footer: /^Done/ })
    await page.reload()
    t.equal(await mode.inputValue(), 'acceptEdits')
    const edit = { tool: 'Write', input: { file_path: 'made.txt', content: 'made' } }
    const fetch = { tool: 'Bash', input: { command: 'touch /tmp/other; uname' } }
    await send(page, scripted([[edit], [fetch], [{ text: 'Both.' }]]))
    const card = page.locator('.permission')
    await card.waitFor()
    t.match(await card.innerText(), /uname/, 'the edit needed no permission')
    t.equal(await page.locator('.turn').last().locator('.tool[data-state=done]').count(), 1)
    await card.getByRole('button', { name: 'Allow', exact: false }).first().click()
    await page.locator('.turn').last().getByText('Both.').waitFor()
    await page.locator('.turn').last().locator('.run-footer').waitFor()
  })

  await t.test('On a phone the row is no wider than the page, and the options fit', async (t) => {
    for (const width of [320, 390]) {
      await page.setViewportSize({ width, height: 844 })
      t.equal(await page.evaluate('document.documentElement.scrollWidth'), width)
      const composer = (await page.locator('.composer').boundingBox())!
      const button = (await page.locator('.send').boundingBox())!
      t.ok(button.x + button.width <= composer.x + composer.width, `${width} px`)
      for (const one of [summary, page.locator('.usage summary')]) {
        await one.click()
        const box = (await page.locator('[open] > .popover-body').boundingBox())!
        t.ok(box.x >= 0 && box.x + box.width <= width && box.y >= 0, JSON.stringify(box))
        await page.keyboard.press('Escape')
      }
    }
  })
})
