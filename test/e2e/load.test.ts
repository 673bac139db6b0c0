import t, { type Test } from 'tap'
import { noBrowser, openBrowser, openPage } from '../helpers/browser.js'
import { local } from '../helpers/chat.js'
import { fakeService, sandbox, someAnswers } from '../helpers/fake-service.js'
import { startService } from '../helpers/service.js'

const base = `/api/modal/sandbox/${sandbox.id}`
const text = 'Some **text**.'
const session = { sessionId: 's', title: 'One', startedAt: sandbox.createdAt, updatedAt: sandbox.createdAt, messages: 2 }
const says = (role: 'user' | 'assistant', content: unknown) =>
  ({ id: role, type: role, time: sandbox.createdAt, parentToolUseId: null, message: { role, content } })

if (noBrowser || process.env.TEST_LIVE === '1') {
  t.test('Loading the page', { skip: noBrowser || 'needs no sandbox' }, async () => {})
} else {
  const browser = await openBrowser()
  t.teardown(() => browser.close())
  const service = await startService(local)
  t.teardown(() => service.close())

  /** What other views need is loaded a while after the first one, which a slow machine may not have shown by then. */
  const withoutTheRest = `{
    const real = window.setTimeout
    window.setTimeout = (callback, ms, ...more) => ms === 3000 ? 0 : real(callback, ms, ...more)
  }`
  const open = async (t: Test, hash = '', answers = {}, script = '') => {
    const opened = await openPage(t, browser, service.url, { viewport: { width: 390, height: 844 } })
    const { page } = opened
    const requests: string[] = []
    page.on('request', (request) => requests.push(new URL(request.url()).pathname))
    await page.addInitScript(`
      window.shifts = []
      new PerformanceObserver((list) => { for (const entry of list.getEntries()) shifts.push(entry.value) })
        .observe({ type: 'layout-shift', buffered: true })
    `)
    await page.addInitScript(script)
    await fakeService(page, someAnswers(answers))
    await page.goto(`${service.url}/${hash}`)
    return { ...opened, requests }
  }

  t.test('All modules of a chat are asked for at once, not one import after another, and each once', async (t) => {
    const { page, requests } = await open(t, `#sandbox=${sandbox.id}`, {}, withoutTheRest)
    await page.locator('.welcome').waitFor()
    await page.waitForLoadState('networkidle')
    // The icon is in the page, and in the tab.
    const files = requests.filter((path) => !/^\/(api\/|favicon)/.test(path))
    t.equal(new Set(files).size, files.length, 'each once')
    t.strictSame(files.filter((path) => !/^\/$|\.\w{10}\.(js|css|svg)$/.test(path)), [], 'each by its hash')
    // What takes drops, and what shows the context, is loaded when the conversation is there.
    const found = await page.evaluate(`performance.getEntriesByType('resource')
      .filter(({ name, initiatorType }) => name.endsWith('.js') && initiatorType !== 'other' && initiatorType !== 'link')
      .map(({ name }) => new URL(name).pathname)`) as string[]
    t.strictSame(found.map((path) => path.replace(/^\/|\.\w{10}\.js$/g, '')), ['chat/uploads', 'chat/ports', 'chat/usage', 'panels/chosen-files', 'panels/upload'], 'no other module is found by an import')
  })

  t.test('Libraries are loaded when a text needs them, and not before', async (t) => {
    const { page, requests } = await open(t, `#sandbox=${sandbox.id}`)
    const libraries = () => requests.filter((path) => path.startsWith('/vendor/')).map((path) => /\/(\w+)\.\w{10}\./.exec(path)?.[1])
    await page.locator('.welcome').waitFor()
    await page.waitForLoadState('networkidle')
    t.strictSame(libraries(), [])

    const { page: other, requests: more } = await open(t, `#sandbox=${sandbox.id}`, {
      [`GET ${base}/sessions`]: { sessions: [session] },
      [`GET ${base}/sessions/s`]: { sessionId: 's', next: null, messages: [says('user', 'Hello'), says('assistant', [{ type: 'text', text }])] }
    })
    await other.locator('.markdown strong').waitFor()
    await other.waitForLoadState('networkidle')
    t.strictSame(more.filter((path) => path.startsWith('/vendor/')).map((path) => /\/(\w+)\./.exec(path)![1]).sort(), ['marked', 'purify'])
  })

  t.test('Nothing moves while the page loads', async (t) => {
    for (const [hash, ready] of [['', '.sandbox'], [`#sandbox=${sandbox.id}`, '.welcome']]) {
      const { page } = await open(t, hash)
      await page.locator(ready!).waitFor()
      await page.waitForLoadState('networkidle')
      const shift = (await page.evaluate('shifts') as number[]).reduce((sum, value) => sum + value, 0)
      t.ok(shift < 0.02, `layout shift ${shift.toFixed(4)} of ${ready}`)
    }
  })

  t.test('A part of the page that is gone since an update is told, and how to go on (7.7)', async (t) => {
    const { page, allow } = await openPage(t, browser, service.url)
    await fakeService(page, someAnswers())
    await page.route(/\/views\/create-form\./, (route) => route.fulfill({ status: 404, body: '' }))
    await page.goto(service.url)
    await page.getByRole('button', { name: 'Options' }).click()
    await page.getByRole('alert').getByText('This part of the page could not be loaded.').waitFor()
    await page.getByRole('button', { name: 'Reload' }).click()
    await page.getByRole('button', { name: 'New sandbox' }).waitFor()
    allow(/status of 404/)
  })
}
