import t from 'tap'
import { noBrowser, openBrowser, openPage } from '../helpers/browser.js'
import { local } from '../helpers/chat.js'
import { startService } from '../helpers/service.js'

t.test('The workspace of a new sandbox in a real browser', { skip: noBrowser }, async (t) => {
  const browser = await openBrowser()
  const service = await startService({ ...local, ACCOUNTS: '' })
  t.teardown(async () => {
    await browser.close()
    await service.close()
  })
  const { page } = await openPage(t, browser, service.url)
  await page.goto(`${service.url}/#code=${service.app.signInCode}`)
  const choice = page.getByLabel('Workspace', { exact: true })
  const create = page.getByRole('button', { name: 'New sandbox' })
  const texts = async () => await choice.locator('option').allInnerTexts()
  const volumes = async () => await page.evaluate(async () => {
    const { sandboxes } = await (await fetch('/api/modal/sandbox')).json() as any
    return sandboxes.map(({ volume }: any) => volume?.name ?? null)
  })

  await t.test('The first one is named, and is made with the sandbox', async (t) => {
    await create.waitFor()
    t.strictSame(await texts(), ['workspace (new)', 'New workspace…', 'None: files are lost at the end'])
    await create.click()
    await page.locator('.welcome').waitFor()
    t.strictSame(await volumes(), ['workspace'])
  })

  await t.test('One that another sandbox has open is never shared by accident: the page says so, and leads there', async (t) => {
    const chat = page.url()
    await page.goto(`${service.url}/#`)
    await page.getByText('Both would work on the same files').waitFor()
    t.strictSame(await texts(), ['workspace (in use)', 'New workspace…', 'None: files are lost at the end'])
    await page.getByRole('button', { name: 'Continue there' }).click()
    await page.locator('.welcome').waitFor()
    t.equal(page.url().split('/').slice(0, 4).join('/'), chat.split('/').slice(0, 4).join('/'))
  })

  await t.test('A new one is made by its name, which is asked for; the next visit has it as the choice', async (t) => {
    await page.goto(`${service.url}/#`)
    await choice.selectOption({ label: 'New workspace…' })
    const name = page.getByLabel('Name of the new workspace')
    t.equal(await name.evaluate((element) => element === element.ownerDocument.activeElement), true)
    await create.click()
    await page.getByText('Give the new workspace a name').waitFor()
    await name.fill('other')
    await create.click()
    await page.locator('.welcome').waitFor()
    t.strictSame((await volumes()).sort(), ['other', 'workspace'])
    await page.goto(`${service.url}/#`)
    await page.getByText('other is open in').waitFor()
    t.equal(await choice.inputValue(), 'other')
  })
})
