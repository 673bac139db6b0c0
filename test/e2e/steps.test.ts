import t from 'tap'
import type { Page } from 'playwright-core'
import { noBrowser, openBrowser, openPage } from '../helpers/browser.js'
import { finished, local, sandboxOn, scripted, send } from '../helpers/chat.js'
import { startService } from '../helpers/service.js'

const skip = noBrowser || (process.env.TEST_LIVE === '1' && 'drives the scripted model')
const read = { tool: 'Read', input: { file_path: 'a.txt' } }
const bash = (command: string) => ({ tool: 'Bash', input: { command } })
const todo = (states: string[]) => ({
  tool: 'TodoWrite',
  input: { todos: states.map((status, at) => ({ content: `Do ${at + 1}`, activeForm: `Doing ${at + 1}`, status })) }
})

t.test('Long runs of tool calls in a real browser', { skip }, async (t) => {
  const [browser, service] = await Promise.all([openBrowser(), startService({ ...local, ACCOUNTS: '' })])
  t.teardown(async () => {
    await browser.close()
    await service.close()
  })
  const { page } = await openPage(t, browser, service.url)
  await page.goto(`${service.url}/#code=${service.app.signInCode}`)
  await page.locator('.start').waitFor()
  const open = async (env: Record<string, string> = {}) => {
    await page.goto('about:blank')
    const id = await newSandbox(page, service.url, env)
    await page.goto(`${service.url}/#sandbox=${id}`)
    await page.locator('.welcome').waitFor()
  }
  await open()
  const turn = page.locator('.turn').last()
  const toggle = turn.locator('.series-toggle')
  const visible = async () => await turn.locator('.tool:visible').evaluateAll((all: any[]) =>
    all.map((tool) => `${tool.dataset.tool} ${tool.dataset.state}`))

  await t.test('Five hundred calls are one line and the latest call, not five hundred cards', async (t) => {
    await send(page, scripted([[bash('echo x > a.txt')], Array(499).fill(read), [{ text: 'All is read.' }]]))
    // Each is a turn of the CLI's.
    await page.locator('.turn').last().locator('.run-footer').waitFor({ timeout: 300_000 })
    t.strictSame(await visible(), ['Read done'])
    t.match(await toggle.innerText(), /^499 steps\s+Read 498, Bash$/)
    t.equal(await toggle.getAttribute('aria-expanded'), 'false')
  })

  await t.test('Opened, each call is there to be found and read, and the line stays where it was clicked', async (t) => {
    const { y } = (await toggle.boundingBox())!
    await toggle.click()
    t.equal(await toggle.getAttribute('aria-expanded'), 'true')
    t.equal((await visible()).length, 500)
    t.equal((await toggle.boundingBox())!.y, y)
    t.equal(await page.getByRole('group').filter({ hasText: 'a.txt' }).count() >= 500, true, 'assistive technology has them')
    await turn.locator('.tool summary').nth(250).click()
    await turn.locator('.tool').nth(250).locator('.tool-result .code').waitFor()
    await toggle.click()
    t.strictSame(await visible(), ['Read done', 'Read done'], 'what somebody has opened stays')
  })

  await t.test('After a reload they are folded again', async (t) => {
    await page.reload()
    await finished(page)
    t.strictSame(await visible(), ['Read done'])
    t.match(await toggle.innerText(), /^499 steps/)
  })

  await t.test('A failure stays visible in its place, and a text ends a series', async (t) => {
    await send(page, scripted([
      ...['1', '2', '3', 'exit 7', '5', '6', '7', '8'].map((word) => [bash(word.startsWith('exit') ? word : `echo ${word}`)]),
      [{ text: 'So far.' }, bash('echo 9')], [bash(`echo ${'9 '.repeat(200)}`)], [{ text: 'Done.' }]
    ]))
    await finished(page)
    t.strictSame(await visible(), ['Bash failed', 'Bash done', 'Bash done', 'Bash done'])
    t.match(await toggle.first().innerText(), /^6 steps/)
    t.equal(await toggle.nth(1).isVisible(), false, 'one call is not worth a click')
  })

  await t.test('A step with a long line is not wider than the column', async (t) => {
    const widths = await page.locator('.turn').last().evaluate((element: any) =>
      [...element.querySelectorAll('.tool')].filter((tool) => tool.checkVisibility()).map((tool) => tool.getBoundingClientRect().width - element.querySelector('.claude').clientWidth))
    t.ok(widths.length > 0 && widths.every((more: number) => more <= 0))
  })

  await t.test('While Claude works, the current step is shown, and those before it are folded', async (t) => {
    await send(page, scripted([...Array(6).fill([bash('true')]), [bash('until [ -e go ]; do sleep 0.1; done')], [{ text: 'Done.' }]]))
    await turn.locator('.tool[data-state="running"]', { hasText: 'until' }).waitFor()
    t.strictSame(await visible(), ['Bash running'])
    t.match(await toggle.innerText(), /^6 steps/)
    await run(page, 'touch /workspace/go')
    await finished(page)
  })

  await t.test('Who has scrolled up to read is not moved when steps fold', async (t) => {
    await send(page, scripted([...Array(3).fill([bash('true')]), [bash('until [ -e on ]; do sleep 0.1; done')], ...Array(5).fill([bash('true')]), [{ text: 'Done.' }]]))
    await turn.locator('.tool[data-state="running"]', { hasText: 'until' }).waitFor()
    const earlier = page.locator('.turn').nth(1).locator('.markdown').last()
    await earlier.evaluate((element: any) => element.scrollIntoView({ block: 'center' }))
    const { y } = (await earlier.boundingBox())!
    await run(page, 'touch /workspace/on')
    await finished(page)
    t.equal((await earlier.boundingBox())!.y, y)
  })

  await t.test('With the keyboard a series opens and closes', async (t) => {
    await toggle.focus()
    await page.keyboard.press('Enter')
    t.equal(await toggle.getAttribute('aria-expanded'), 'true')
    await page.keyboard.press('Space')
    t.equal(await toggle.getAttribute('aria-expanded'), 'false')
  })

  await t.test('A list of things to do has one view with its latest state, and no card for each call', async (t) => {
    await open({ CLAUDE_CODE_ENABLE_TODO_TOOLS: '1', CLAUDE_CODE_ENABLE_TASKS: '0' })
    await send(page, scripted([
      [todo(['in_progress', 'pending', 'pending'])], [bash('true')], [todo(['completed', 'in_progress', 'pending'])], [{ text: 'Done.' }]
    ]))
    await finished(page)
    const todos = turn.locator('.todos')
    t.equal(await todos.count(), 1)
    t.match(await todos.locator('summary').innerText(), /^1 of 3\s+Doing 2$/)
    t.strictSame(await visible(), ['Bash done'])
    await todos.locator('summary').click()
    t.match(await todos.locator('ul').innerText(), /Done:\s+Do 1\s+In progress:\s+Do 2\s+To do:\s+Do 3/)
    await page.reload()
    await finished(page)
    t.match(await todos.locator('summary').innerText(), /^1 of 3\s+Doing 2$/, 'also after a reload')
  })

  await t.test('Tasks that are made and changed one by one are one list, also over turns', async (t) => {
    await open({ CLAUDE_CODE_ENABLE_TODO_TOOLS: '1' })
    const create = (subject: string) => ({ tool: 'TaskCreate', input: { subject, description: subject, activeForm: `${subject} now` } })
    const update = (taskId: string, fields: object) => ({ tool: 'TaskUpdate', input: { taskId, ...fields } })
    await send(page, scripted([[create('Look')], [create('Write')], [create('Drop')], [update('1', { status: 'completed' })], [{ text: 'Ok.' }]]))
    await finished(page)
    t.match(await turn.locator('.todos summary').innerText(), /^1 of 3$/)
    await send(page, scripted([[update('3', { status: 'deleted' })], [update('2', { status: 'in_progress' })], [{ text: 'Ok.' }]]))
    await finished(page)
    t.match(await turn.locator('.todos summary').innerText(), /^1 of 2\s+Write now$/)
    t.match(await page.locator('.turn').first().locator('.todos summary').innerText(), /^1 of 3$/, 'an earlier turn shows what it was then')
    t.strictSame(await visible(), [])
  })

  await t.test('A list that could not be stored is a failed call', async (t) => {
    await send(page, scripted([[{ tool: 'TodoWrite', input: { todos: [] } }], [{ text: 'Not here.' }]]))
    await finished(page)
    t.strictSame(await visible(), ['TodoWrite failed'])
    t.equal(await turn.locator('.todos').count(), 0)
  })
})

async function newSandbox (page: Page, url: string, env: Record<string, string>) {
  await page.goto(url)
  const { id } = await page.evaluate(`fetch('/api/modal/sandbox', {
    method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify({ env: ${JSON.stringify(env)} })
  }).then((response) => response.json())`) as { id: string }
  return id
}

/** Runs a command in the sandbox while Claude works there. */
async function run (page: Page, command: string) {
  await page.evaluate(`fetch('/api/modal/sandbox/${sandboxOn(page)}/exec', {
    method: 'POST',
    headers: { 'content-type': 'application/json', accept: 'application/json' },
    body: JSON.stringify({ command: ['sh', '-c', ${JSON.stringify(command)}] })
  }).then((response) => response.text())`)
}
