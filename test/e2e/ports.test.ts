import t from 'tap'
import { noBrowser } from '../helpers/browser.js'
import { finished, openChat, scripted, send } from '../helpers/chat.js'

const skip = noBrowser || (process.env.TEST_LIVE === '1' && 'drives the scripted model')

const serve = `node -e "require('http').createServer((request, answer) => answer.end('It works: ' + request.url.split('?')[0] +
  ' opener ' + request.headers.referer)).listen(3000)" > /dev/null 2>&1 &`

t.test('Ports of a sandbox in a real browser', { skip }, async (t) => {
  const { page, service } = await openChat(t)
  const open = page.getByRole('button', { name: 'Open port 3000' })
  const opened = async (click: () => Promise<void>) => {
    const [tab] = await Promise.all([page.context().waitForEvent('page'), click()])
    await tab.getByText(/It works/).waitFor()
    return tab
  }

  await t.test('A server that Claude starts is offered, and opened in a tab of its own origin that knows nothing of the page', async (t) => {
    await send(page, scripted([
      [{ tool: 'Bash', input: { command: serve } }],
      [{ text: 'It runs at [your app](http://localhost:3000/start?a=1), and [there](http://localhost:3000//elsewhere.invalid/x). ' }, { text: '.', repeat: 600, chunk: 1, delayMs: 1000 }]
    ]))
    await open.waitFor()
    const tab = await opened(() => open.click())
    t.equal(await tab.locator('body').innerText(), 'It works: / opener undefined')
    t.not(new URL(tab.url()).origin, new URL(service.url).origin)
    t.equal(await tab.evaluate('window.opener'), null)
    await tab.close()
  })

  await t.test('A link of Claude\'s to localhost leads to the sandbox, not to the user\'s own machine', async (t) => {
    const tab = await opened(() => page.getByRole('link', { name: 'your app' }).click())
    t.match(await tab.locator('body').innerText(), 'It works: /start')
    t.match(new URL(tab.url()).searchParams.get('a'), '1')
    await tab.close()
    const middle = await opened(() => page.getByRole('link', { name: 'your app' }).click({ button: 'middle' }))
    t.match(await middle.locator('body').innerText(), 'It works: /start', 'whichever button it is clicked with')
    await middle.close()
  })

  await t.test('A path that looks like another host stays one: the token goes nowhere else', async (t) => {
    const tab = await opened(() => page.getByRole('link', { name: 'there' }).click())
    t.match(await tab.locator('body').innerText(), 'It works: //elsewhere.invalid/x')
    await tab.close()
  })

  await t.test('With its run the server ends, and the port is offered no more', async () => {
    await page.getByRole('button', { name: 'Stop Esc' }).click()
    await finished(page)
    await open.waitFor({ state: 'hidden' })
  })

  await t.test('What is started in a terminal is offered as well, also after a reload', async () => {
    const [{ id }] = await page.evaluate(async () => (await (await fetch('/api/modal/sandbox')).json() as any).sandboxes)
    await page.evaluate(async ([id, command]) => {
      await fetch(`/api/modal/sandbox/${id}/exec`, {
        method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify({ command: ['sh', '-c', command] })
      })
    }, [id, serve])
    await page.getByRole('button', { name: 'Terminal', exact: true }).click()
    await open.waitFor()
    await page.reload()
    await open.waitFor()
  })
})
