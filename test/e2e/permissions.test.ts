import { setTimeout as sleep } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { noBrowser, openBrowser, openPage } from '../helpers/browser.js'
import { finished, local, scripted, send } from '../helpers/chat.js'
import { keys, startService } from '../helpers/service.js'

if (noBrowser || process.env.TEST_LIVE === '1') {
  t.test('Permissions in a real browser', { skip: noBrowser || 'the page test drives the scripted model' }, async () => {})
} else {
  const browser = await openBrowser()
  t.teardown(() => browser.close())

  t.test('Claude asks for permission on the page before it uses a tool', async (t) => {
    const service = await startService(local)
    t.teardown(() => service.close())
    const signIn = async (t: Test) => {
      const opened = await openPage(t, browser, service.url, { reducedMotion: 'reduce' })
      await opened.page.goto(service.url)
      await opened.page.getByLabel('API key').fill(keys.alice)
      await opened.page.getByLabel('API key').press('Enter')
      return opened
    }
    const { page } = await signIn(t)
    await page.getByRole('button', { name: 'New sandbox' }).click()
    await page.locator('.welcome').waitFor()
    await page.getByLabel('What Claude may do').selectOption('Ask first')

    await t.test('The request is shown with the time left, and the tool runs when it is allowed', async (t) => {
      await send(page, 'Write me a program')
      const card = page.locator('.permission[data-state=open]')
      await card.waitFor()
      t.match(await card.innerText(), /Claude wants to use Write: hello-[^]*10 min left|9 min left/)
      t.match(await card.locator('.diff').innerText(), /Written by the scripted demo model/)
      await page.locator('.activity', { hasText: 'Waiting for you' }).waitFor()
      await page.locator('#status', { hasText: 'Claude needs your permission. It wants to use Write.' }).waitFor({ state: 'attached' })
      await card.getByRole('button', { name: 'Allow', exact: true }).press('Enter')
      await page.locator('.permission[data-state=allow]', { hasText: 'Allowed' }).waitFor()
      await page.locator('.tool[data-tool=Write][data-state=done]').waitFor()
      t.equal(await page.evaluate('document.activeElement.className'), 'permission', 'the focus stays where it was')
    })

    await t.test('The request survives a reload and is shown in another browser; a denial reaches Claude with its reason', async (t) => {
      await page.locator('.permission[data-state=open]', { hasText: 'sh hello-' }).waitFor()
      await page.reload()
      await page.locator('.permission[data-state=open]', { hasText: 'sh hello-' }).waitFor()
      t.equal(await page.locator('.permission[data-state=allow]').count(), 1, 'an answered request is not shown as open again')

      const { page: other } = await signIn(t)
      await other.getByRole('button', { name: /^Continue with/ }).click()
      const card = other.locator('.permission[data-state=open]')
      await card.getByLabel('Reason for denying').fill('Use Python "instead" <b>')
      await card.getByRole('button', { name: 'Deny' }).click()
      await other.locator('.permission[data-state=deny]', { hasText: 'Denied' }).waitFor()
      await page.locator('.permission[data-state=deny]', { hasText: 'Denied' }).waitFor()
      await page.locator('.run-footer').waitFor()
      t.match(await page.locator('.turn').last().innerText(), /because Bash did not go through:[^]*Use Python "instead" <b>/)
      t.equal(await page.locator('.permission .actions button').count(), 0)
    })

    await t.test('What is always allowed in the workspace is asked no more, until that is taken back', async (t) => {
      const write = () => send(page, scripted([[{ tool: 'Write', input: { file_path: '/workspace/often.txt', content: 'x' } }], [{ text: 'Written.' }]]))
      const written = async () => await page.locator('.turn').last().locator('.markdown', { hasText: 'Written.' }).waitFor()
      await write()
      const card = page.locator('.permission[data-state=open]')
      await card.getByText('In this workspace: Write').waitFor()
      await card.getByRole('button', { name: 'Always allow in this workspace' }).click()
      await written()
      const count = await page.locator('.permission').count()
      await write()
      await page.locator('.turn').nth(2).waitFor()
      await written()
      t.equal(await page.locator('.permission').count(), count)
      // At the end of a run the focus goes to the prompt, which closes the options.
      await finished(page)
      await page.locator('.run-options summary').click()
      await page.getByRole('group', { name: 'Always allowed in this workspace' }).getByText('Write').waitFor()
      await page.getByRole('button', { name: 'Ask for Write again' }).click()
      await page.getByRole('group', { name: 'Always allowed in this workspace' }).waitFor({ state: 'hidden' })
      await page.keyboard.press('Escape')
      await write()
      await card.getByRole('button', { name: 'Allow', exact: true }).click()
      await page.locator('.turn').nth(3).waitFor()
      await written()
    })

    await t.test('Shortcuts answer requests, too, and a stopped run has no open ones', async (t) => {
      await send(page, scripted([[bash('echo one')], [bash('echo two > two.txt')], [bash('echo three > three.txt')], [{ text: 'The end.' }]]))
      await page.locator('.permission', { hasText: 'two.txt' }).waitFor()
      t.equal(await page.evaluate('document.activeElement.id'), 'prompt', 'a card does not take the focus, as Enter would answer it')
      await page.keyboard.press('Control+Shift+Enter')
      await page.locator('.permission[data-state=allow]', { hasText: 'two.txt' }).waitFor()
      await page.locator('.permission[data-state=open]', { hasText: 'three.txt' }).waitFor()
      t.equal(await page.getByLabel('Prompt', { exact: true }).inputValue(), '')
      await page.keyboard.press('Escape')
      await page.locator('.permission[data-state=deny]', { hasText: 'Denied, because the run ended' }).waitFor()
      await page.locator('.turn').last().locator('.run-footer', { hasText: 'Stopped' }).waitFor()
    })

    await t.test('Users who look elsewhere are notified', async (t) => {
      await page.evaluate("Object.defineProperty(document, 'hasFocus', { value: () => false, configurable: true })")
      await send(page, scripted([[bash('echo four > four.txt')], [{ text: 'The end.' }]]))
      while (!(await page.title()).startsWith('(!) Claude needs your permission')) await sleep(20)
      await page.keyboard.press('Control+Shift+Backspace')
      await page.locator('.turn').last().locator('.run-footer').waitFor()
      t.match(await page.locator('.turn').last().locator('.tool-error').innerText(), /The user does not allow this/)
    })
  })
}

const bash = (command: string) => ({ tool: 'Bash', input: { command } })
