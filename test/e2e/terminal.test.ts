import t from 'tap'
import { noBrowser, openBrowser, openPage } from '../helpers/browser.js'
import { local } from '../helpers/chat.js'
import { eventually } from '../helpers/containers.js'
import { startService } from '../helpers/service.js'

if (noBrowser || process.env.TEST_LIVE === '1') {
  t.test('The terminal in a real browser', { skip: noBrowser || 'a page test' }, async () => {})
} else {
  const browser = await openBrowser()
  t.teardown(() => browser.close())

  t.test('The terminal on the page', async (t) => {
    const service = await startService({ ...local, ACCOUNTS: '' })
    t.teardown(() => service.close())
    const { page, allow } = await openPage(t, browser, service.url)
    await page.goto(`${service.url}/#code=${service.app.signInCode}`)
    await page.getByRole('button', { name: 'New sandbox' }).click()
    await page.locator('.welcome').waitFor()
    const shell = (number: number) => page.frameLocator(`iframe[title="Shell ${number}"]`)
    const shows = async (number: number, text: RegExp) =>
      await shell(number).locator('.xterm-rows').filter({ hasText: text }).waitFor()

    await t.test('A shell takes keys and shows what they do, in the size of its panel', async (t) => {
      await page.getByRole('button', { name: 'Terminal' }).click()
      await shows(1, /[#$] /)
      await page.keyboard.type('echo $((6*7)); printf "\\033[38;2;200;30;30mred\\033[0m\\n"; stty size\n')
      await shows(1, /42\s*red/)
      const [, columns] = /(\d+) (\d+)/.exec(await shell(1).locator('.xterm-rows > div', { hasText: /^\d+ \d+\s*$/ }).innerText())!.slice(1)
      t.ok(Number(columns) > 40, String(columns))
      await page.setViewportSize({ width: 900, height: 700 })
      await page.keyboard.type('sleep 1; stty size | tr " " x\n')
      await shell(1).locator('.xterm-rows > div', { hasText: /^\d+x\d+\s*$/ }).waitFor()
      const smaller = await shell(1).locator('.xterm-rows > div', { hasText: /^\d+x\d+\s*$/ }).innerText()
      t.ok(Number(smaller.split('x')[1]) < Number(columns), smaller)
      await page.setViewportSize({ width: 1280, height: 800 })
    })

    await t.test('Another shell has a tab of its own, and one that is closed ends', async () => {
      await page.keyboard.type('export NAME=first\n')
      await page.getByRole('button', { name: 'New shell' }).click()
      await shows(2, /[#$] /)
      await page.keyboard.type('echo "[$NAME]"; sleep 4321\n')
      await shows(2, /\[\]/)
      await page.getByRole('button', { name: 'Shell 1', exact: true }).click()
      await page.keyboard.type('echo "[$NAME]"; while pgrep -f "^sleep 4321"; do sleep .2; done; echo it is over\n')
      await shows(1, /\[first\]/)
      await page.getByRole('button', { name: 'Close Shell 2' }).click()
      await shows(1, /it is over/)
      await page.locator('iframe').nth(1).waitFor({ state: 'detached' })
    })

    await t.test('The keyboard leaves it, and comes back', async (t) => {
      await page.getByRole('button', { name: 'Shell 1', exact: true }).click()
      await page.keyboard.press('Shift+Escape')
      await page.waitForFunction('document.activeElement.tagName === "TEXTAREA"')
      await page.keyboard.press('Control+`')
      t.equal(await page.locator('aside.panel').isVisible(), false)
      await page.keyboard.press('Control+`')
      await page.locator('aside.panel').waitFor()
      await shows(1, /it is over/)
    })

    await t.test('After a reload it is the same shell with what it has said', async () => {
      await page.reload()
      await page.getByRole('button', { name: 'Terminal' }).click()
      await shows(1, /it is over/)
      await page.keyboard.type('echo "<$NAME>"\n')
      await shows(1, /<first>/)
    })

    await t.test('A lost connection is told, and goes on where it was', async () => {
      allow(/WebSocket|ERR_|Failed to load/)
      for (const socket of service.app.websocketServer.clients) socket.terminate()
      await shows(1, /The connection is lost/)
      await page.keyboard.type('\n')
      await page.waitForTimeout(1500)
      await page.keyboard.type('echo "{$NAME}"\n')
      await shows(1, /\{first\}/)
    })

    await t.test('Enter gets a new shell when it has ended', async (t) => {
      await page.keyboard.type('exit 3\n')
      await shows(1, /The shell has ended \(3\)/)
      await page.keyboard.press('Enter')
      await page.keyboard.type('echo "now [$NAME]"\n')
      await shows(1, /now \[\]/)
      t.equal(await page.locator('iframe').count(), 1)
    })

    await t.test('On a phone it has the whole width, and nothing is cut off', async (t) => {
      await page.setViewportSize({ width: 390, height: 700 })
      await page.keyboard.type('stty size | tr " " y\n')
      await shows(1, /\d+y\d+/)
      t.ok(await eventually(async () => (await page.locator('iframe').boundingBox())?.width === 390))
      t.ok(await page.evaluate('document.documentElement.scrollWidth <= 390'))
      for (const name of ['New shell', 'Close Shell 1']) {
        const box = (await page.getByRole('button', { name }).boundingBox())!
        t.ok(box.x >= 0 && box.x + box.width <= 390, name)
      }
      await page.setViewportSize({ width: 1280, height: 800 })
    })

    await t.test('A phone gets the keys that its keyboard lacks', async (t) => {
      const context = await browser.newContext({
        viewport: { width: 390, height: 700 },
        hasTouch: true,
        isMobile: true,
        storageState: await page.context().storageState()
      })
      t.teardown(() => context.close())
      const phone = await context.newPage()
      await phone.goto(page.url())
      await phone.getByRole('button', { name: 'Terminal' }).click()
      const frame = phone.frameLocator('iframe')
      const shows = async (text: RegExp) => await frame.locator('.xterm-rows').filter({ hasText: text }).waitFor()
      await shows(/[#$] /)
      await phone.keyboard.type('echo earlier\n')
      await shows(/earlier[^]*earlier[^]*[#$]/)
      await phone.keyboard.type('sleep 1000\n')
      await frame.getByRole('button', { name: 'Control C' }).tap()
      await shows(/\^C/)
      for (let times = 0; times < 2; times++) await frame.getByRole('button', { name: 'Up' }).tap()
      await phone.keyboard.type('-again\n')
      await shows(/earlier-again/)
    })

    await t.test('It ends with the sandbox', async () => {
      await service.app.modal.client.sandboxes.fromId(/sb-\w+/.exec(page.url())![0]).then((sandbox) => sandbox.terminate())
      await page.locator('.ended, .dock h2').filter({ hasText: /ended/ }).first().waitFor()
    })
  })

  t.test('Who has signed out elsewhere is told so, and asks for no more shells', async (t) => {
    const service = await startService({ ...local, ACCOUNTS: '' })
    t.teardown(() => service.close())
    const { page, allow } = await openPage(t, browser, service.url)
    allow(/WebSocket|ERR_|Failed to load/)
    await page.goto(`${service.url}/#code=${service.app.signInCode}`)
    await page.getByRole('button', { name: 'New sandbox' }).click()
    await page.locator('.welcome').waitFor()
    await page.getByRole('button', { name: 'Terminal' }).click()
    await page.frameLocator('iframe').locator('.xterm-rows').filter({ hasText: /[#$] / }).waitFor()
    await page.context().clearCookies()
    for (const socket of service.app.websocketServer.clients) socket.terminate()
    await page.getByText('You are no longer signed in.').waitFor()
    t.equal(await page.locator('iframe').count(), 0)
  })
}
