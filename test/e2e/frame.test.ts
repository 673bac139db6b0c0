import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import type { BrowserContextOptions, Page } from 'playwright-core'
import { noBrowser, openBrowser, openPage } from '../helpers/browser.js'
import { local, send } from '../helpers/chat.js'
import { fakeService, sandbox, someAnswers } from '../helpers/fake-service.js'
import { startService } from '../helpers/service.js'

const base = `/api/modal/sandbox/${sandbox.id}`
const chat = `#sandbox=${sandbox.id}`
const session = { sessionId: 's', title: 'A long talk', startedAt: sandbox.createdAt, updatedAt: sandbox.createdAt, messages: 80 }
const says = (id: string, role: 'user' | 'assistant', content: unknown) =>
  ({ id, type: role, time: sandbox.createdAt, parentToolUseId: null, message: { role, content } })
const long = {
  [`GET ${base}/sessions`]: { sessions: [session] },
  [`GET ${base}/sessions/s`]: {
    sessionId: 's',
    next: null,
    messages: Array.from({ length: 40 }, (_, n) => [
      says(`u${n}`, 'user', `Question ${n}`),
      says(`a${n}`, 'assistant', [{ type: 'text', text: `Answer ${n}. ${'More of it. '.repeat(40)}` }, { type: 'tool_use', id: `t${n}`, name: 'Bash', input: { command: 'ls' } }])
    ]).flat()
  }
}

if (noBrowser || process.env.TEST_LIVE === '1') {
  t.test('The frame of the page', { skip: noBrowser || 'needs no sandbox' }, async () => {})
} else {
  const browser = await openBrowser()
  t.teardown(() => browser.close())
  const service = await startService(local)
  t.teardown(() => service.close())

  const open = async (t: Test, hash = '', answers = {}, options: BrowserContextOptions = {}) => {
    const opened = await openPage(t, browser, service.url, { reducedMotion: 'reduce', ...options })
    const fake = await fakeService(opened.page, someAnswers(answers))
    await opened.page.goto(`${service.url}/${hash}`)
    return { ...opened, ...fake }
  }

  t.test('The options of a run and the conversations fit a phone', async (t) => {
    for (const width of [320, 390]) {
      const { page } = await open(t, chat, {}, { viewport: { width, height: 700 } })
      await page.locator('.welcome').waitFor()
      for (const [button, body] of [['.run-options summary', '.popover[open] .popover-body'], ['.rail-button button', '.drawer']]) {
        await page.locator(button!).click()
        await page.locator(body!).waitFor()
        const { x, width: wide } = (await page.locator(body!).boundingBox())!
        t.ok(x >= 0 && x + wide <= width, `${button} from ${x} to ${x + wide} of ${width}`)
        await page.keyboard.press('Escape')
      }
    }
  })

  t.test('Nothing hidden makes the page longer than what is shown', async (t) => {
    const { page } = await open(t, chat, long)
    await page.locator('.turn').nth(39).waitFor()
    t.strictSame(await page.evaluate(`[...document.querySelectorAll('html, body, main, .chat, .chat-main, .column')]
      .filter(({ scrollHeight, clientHeight }) => scrollHeight > clientHeight + 1).map(({ className, localName }) => className || localName)`), [])
    t.ok(await page.locator('.scroller').evaluate((element: any) => element.scrollHeight > 3000))
  })

  t.test('A chat has one bar, with the conversation as its title; every link and button in it has a name', async (t) => {
    const { page } = await open(t, chat, long)
    await page.locator('.turn').nth(39).waitFor()
    t.strictSame(await page.locator('h1').allInnerTexts(), ['A long talk'])
    t.equal(await page.locator('header').count(), 1)
    const { height } = (await page.locator('header').boundingBox())!
    t.equal((await page.locator('.chat').boundingBox())!.y, height, 'the chat begins below it')
    await page.getByRole('link', { name: 'All sandboxes' }).click()
    await page.getByRole('link', { name: 'Modal Sandbox' }).waitFor()
    await page.setViewportSize({ width: 320, height: 700 })
    t.equal(await page.getByRole('link', { name: 'Modal Sandbox' }).count(), 1, 'also without its text')
  })

  t.test('The meanings of the shortcuts are in one column', async (t) => {
    const { page } = await open(t)
    await page.getByRole('button', { name: 'Keyboard shortcuts' }).click()
    const lefts = await page.locator('.shortcuts dd').evaluateAll((all: any[]) => all.map((one) => one.getBoundingClientRect().left as number))
    t.equal(new Set(lefts).size, 1)
    t.ok(lefts.length > 5)
  })

  t.test('On paper is the conversation alone, and all of it', async (t) => {
    const { page } = await open(t, chat, long)
    await page.locator('.turn').nth(39).waitFor()
    await page.emulateMedia({ media: 'print', colorScheme: 'dark' })
    for (const hidden of ['.top', '.dock']) t.equal(await page.locator(hidden).isVisible(), false, hidden)
    t.ok(await page.evaluate('document.documentElement.scrollHeight > 3000'), 'not one screen of it')
    t.equal(await page.evaluate('getComputedStyle(document.body).backgroundColor'), 'rgb(255, 255, 255)')
    const pages = (await page.pdf()).toString('latin1').match(/\/Type\s*\/Page\b/g)!.length
    t.ok(pages > 2, `${pages} pages`)
  })

  t.test('A step that did not fail is not marked as failed (7.2, 7.7)', async (t) => {
    const { page, on } = await open(t)
    await page.getByRole('button', { name: 'New sandbox' }).click()
    const create = on('/api/modal/sandbox')
    await create.opened()
    const error = { statusCode: 422, code: 'IMAGE_BUILD_FAILED', message: 'The image could not be built.', step: 'image' }
    await create.emit(['step', { step: 'limits', status: 'started' }], ['step', { step: 'image', status: 'started' }],
      ['step', { step: 'app', status: 'started' }], ['error', error])
    await page.getByRole('alert').waitFor()
    t.strictSame(await page.locator('.steps li').evaluateAll((lines: any[]) => lines.map((line) => [line.querySelector('.step-name').textContent, line.dataset.state].join(': '))),
      ['Contact the service: done', 'Check your limits: stopped', 'Prepare the image: failed', 'Find your app: stopped'])
  })

  t.test('People are told neither patterns nor headers, but which field is meant (7.7)', async (t) => {
    const { page, on, allow } = await open(t)
    await page.getByRole('button', { name: 'New sandbox' }).click()
    const create = on('/api/modal/sandbox')
    await create.opened()
    await create.emit(['error', { statusCode: 400, code: 'BAD_REQUEST', message: 'body.volume.name must match pattern "^[a-z]{1,9}$"', hint: 'Check the request.' }])
    await page.getByRole('alert').getByText('“Volume” has a form that is not allowed').waitFor()
    await page.getByRole('button', { name: 'Edit options' }).click()
    t.equal(await page.locator('[aria-invalid=true]').getAttribute('name'), 'volume.name')
    t.equal(await page.getByRole('alert').getByText('“Volume” has a form that is not allowed').count(), 1)

    const hint = 'Send an API key or a token: Authorization: Bearer <key>.'
    const signedOut = { statusCode: 401, code: 'UNAUTHENTICATED', message: 'You are not signed in.', hint }
    const { page: other, allow: allowOther } = await open(t, '', { 'GET /api/modal/sandbox': signedOut })
    await other.getByRole('alert').first().waitFor()
    t.notMatch(await other.locator('body').innerText(), /Bearer|Authorization/)
    allow(/status of 400/)
    allowOther(/status of 401/)
  })

  t.test('That a sandbox is gone is said once (7.8)', async (t) => {
    const gone = { statusCode: 404, code: 'SANDBOX_NOT_FOUND', message: 'There is no such sandbox.', hint: 'Create one.' }
    const { page, allow } = await open(t, chat)
    await page.locator('.welcome').waitFor()
    await page.evaluate(`window.fetch = async () => new Response(${JSON.stringify(JSON.stringify(gone))}, { status: 404 })`)
    await send(page, 'Anybody there?')
    await page.getByRole('heading', { name: 'The sandbox has ended.' }).waitFor()
    t.equal(await page.getByText('There is no such sandbox.').count(), 0)
    t.equal(await page.getByRole('alert').count(), 0)
    allow(/status of 404/)
  })

  t.test('A file that is dropped never leaves the page: in a chat it is uploaded and mentioned, elsewhere refused', async (t) => {
    const folder = await mkdtemp(join(tmpdir(), 'drop-'))
    t.teardown(() => rm(folder, { recursive: true }))
    const files = ['one.txt', 'two words.txt'].map((name) => join(folder, name))
    for (const file of files) await writeFile(file, 'content')

    const { page: start } = await open(t)
    await start.locator('.sandbox').waitFor()
    await drop(start, '.intro', files)
    t.equal(await start.evaluate('location.pathname'), '/')
    t.ok(await start.getByRole('button', { name: 'New sandbox' }).isVisible())

    const { page } = await open(t, chat, { [`PUT ${base}/files/content`]: { path: '/workspace/one.txt', size: 7 } })
    await page.locator('.welcome').waitFor()
    await page.waitForLoadState('networkidle')
    await page.getByLabel('Prompt', { exact: true }).fill('Look at')
    const sent: string[] = []
    page.on('request', (request) => { if (request.method() === 'PUT') sent.push(new URL(request.url()).searchParams.get('path')!) })
    await drop(page, '.composer', files)
    const prompt = page.getByLabel('Prompt', { exact: true })
    while (!(await prompt.inputValue()).includes('one.txt')) await page.waitForTimeout(20)
    t.equal(await prompt.inputValue(), 'Look at @one.txt @"two words.txt" ')
    t.strictSame(sent.sort(), ['/workspace/one.txt', '/workspace/two words.txt'])
    await drop(page, 'header', files)
    t.equal(await page.evaluate('location.hash'), chat)
    t.equal(sent.length, 2)
  })

  t.test('The bar of a chat has room for the title of the conversation at any width', async (t) => {
    const { page } = await open(t, chat, long)
    await page.locator('.turn').nth(39).waitFor()
    for (const width of [360, 390, 768, 900, 1280, 1440]) {
      await page.setViewportSize({ width, height: 800 })
      t.equal(await page.evaluate('document.documentElement.scrollWidth'), width)
      const end = (await page.getByRole('button', { name: 'End session' }).boundingBox())!
      t.ok(end.x + end.width <= width, 'all of the bar')
      t.ok((await page.locator('.conversation-title').boundingBox())!.width > 50, `${width} px`)
    }
  })
}

/** Drops real files of this machine, like a file manager. */
async function drop (page: Page, selector: string, files: string[]) {
  const { x, y, width } = (await page.locator(selector).boundingBox())!
  const devtools = await page.context().newCDPSession(page)
  for (const type of ['dragEnter', 'dragOver', 'drop'] as const) {
    await devtools.send('Input.dispatchDragEvent', { type, x: x + width / 2, y: y + 12, data: { items: [], files, dragOperationsMask: 1 } })
  }
  await devtools.detach()
}
