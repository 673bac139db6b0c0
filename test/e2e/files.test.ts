import t from 'tap'
import { noBrowser, openBrowser, openPage } from '../helpers/browser.js'
import { finished, local, scripted, send } from '../helpers/chat.js'
import { startService } from '../helpers/service.js'

const skip = noBrowser || (process.env.TEST_LIVE === '1' && 'drives the scripted model')

t.test('Files are searched and edited in a real browser', { skip }, async (t) => {
  const [browser, service] = await Promise.all([openBrowser(), startService({ ...local, ACCOUNTS: '' })])
  t.teardown(async () => {
    await browser.close()
    await service.close()
  })
  const { page, allow } = await openPage(t, browser, service.url)
  await page.goto(`${service.url}/#code=${service.app.signInCode}`)
  await page.getByRole('button', { name: 'New sandbox' }).click()
  await page.locator('.welcome').waitFor()
  const bash = async (command: string) => {
    await send(page, scripted([[{ tool: 'Bash', input: { command } }], [{ text: 'Done.' }]]))
    await finished(page)
  }
  /** What is in a file, as the sandbox has it. */
  const inSandbox = async (path: string) => await page.evaluate(`fetch('/api/modal/sandbox/${page.url().split('=').at(-1)}/files/content?path=${path}')
    .then((response) => response.text())`)
  const open = async (name: string) => {
    await page.locator('.tree .file', { hasText: name }).click()
    await page.locator('.file-content figure').waitFor()
  }
  const text = page.getByLabel('Content of the file')
  const find = page.getByLabel('Find in this file')
  const marked = async () => await page.evaluate('[...CSS.highlights.get("found-current")].map(String)')
  const count = page.locator('.file-search [role=status]')

  await bash("seq -f 'Line %g of the File' 1 500 > long.txt; echo 'const answer = 42; answer' > code.js; printf 'one\\r\\ntwo\\r\\n' > dos.txt; printf 'a\\r\\nb\\n' > mixed.txt; printf 'caf\\351' > latin.txt; printf '\\357\\273\\277bom\\n' > bom.txt")
  await page.keyboard.press('Control+Shift+F')

  await t.test('A text is found whatever its case, counted, marked, and brought into view', async (t) => {
    await open('long.txt')
    await find.fill('the file')
    t.equal(await count.innerText(), '1 of 500')
    await find.fill('LINE 45')
    t.equal(await count.innerText(), '1 of 11')
    t.strictSame(await marked(), ['Line 45'])
    await find.press('Enter')
    t.equal(await count.innerText(), '2 of 11')
    const place = await page.evaluate('[...CSS.highlights.get("found-current")][0].getBoundingClientRect().toJSON()') as { top: number, bottom: number }
    t.ok(place.top > 100 && place.bottom < 800, 'line 450 is in view')
    await find.press('Shift+Enter')
    await find.press('Shift+Enter')
    t.equal(await count.innerText(), '11 of 11')
    await find.fill('nowhere')
    t.equal(await count.innerText(), 'Not found')
    t.strictSame(await marked(), [])
    await find.press('Escape')
    t.equal(await find.inputValue(), '')
  })

  await t.test('What is highlighted later is marked all the same', async (t) => {
    await page.getByRole('button', { name: 'Back to the list' }).click()
    await open('code.js')
    await find.fill('answer')
    await page.locator('.file-content .hljs-keyword').first().waitFor()
    await page.waitForFunction(() => (globalThis as any).CSS.highlights.get('found').size === 2)
    t.strictSame(await marked(), ['answer'])
    t.strictSame(await page.evaluate('[...CSS.highlights.get("found")].map(({ startContainer }) => startContainer.isConnected)'), [true, true])
    await page.getByRole('button', { name: 'Back to the list' }).click()
    await open('long.txt')
  })

  await t.test('A file is edited and saved with Ctrl+S, and what is not saved is marked', async (t) => {
    await page.getByRole('button', { name: 'Edit' }).click()
    t.equal(await page.locator('textarea:focus').count(), 1)
    await page.keyboard.type('First! ')
    await page.getByText('Not saved').waitFor()
    await page.keyboard.press('Control+s')
    await page.locator('#status', { hasText: 'Saved' }).waitFor({ state: 'attached' })
    t.equal(await page.getByText('Not saved').count(), 0)
    t.match(await inSandbox('long.txt'), /^First! Line 1 of the File\nLine 2[^]*500 of the File\n$/)
    await page.keyboard.type('Again! ')
    await page.getByRole('button', { name: 'Save' }).click()
    await page.getByText('Not saved').waitFor({ state: 'detached' })
    t.match(await inSandbox('long.txt'), /^First! Again! Line 1/, 'and once more')
  })

  await t.test('In a file that is edited, a text is found, too', async (t) => {
    await find.fill('line 300')
    t.equal(await count.innerText(), '1 of 1')
    t.equal(await text.evaluate((field: any) => field.value.slice(field.selectionStart, field.selectionEnd)), 'Line 300')
    t.ok(await text.evaluate((field: any) => field.scrollTop) > 3000)
    await find.press('Escape')
    t.equal(await page.locator('textarea:focus').count(), 1)
  })

  await t.test('A file that Claude has changed meanwhile is not overwritten, unless somebody wants it', async (t) => {
    await text.fill('mine')
    await bash('echo theirs > long.txt')
    t.equal(await text.inputValue(), 'mine', 'what is being edited stays')
    allow(/status of 412/)
    await text.press('Control+s')
    const alert = page.locator('.file-editor').getByRole('alert')
    t.match(await alert.innerText(), /The file has changed since you opened it/)
    t.equal(await inSandbox('long.txt'), 'theirs\n')
    t.equal(await text.inputValue(), 'mine')
    await alert.getByRole('button', { name: 'Replace it with your text' }).click()
    await page.getByText('Not saved').waitFor({ state: 'detached' })
    t.equal(await inSandbox('long.txt'), 'mine')
    await bash('echo theirs again > long.txt')
    await text.fill('mine again')
    await text.press('Control+s')
    await alert.getByRole('button', { name: 'Load the file again' }).click()
    await page.locator('.file-content .code', { hasText: 'theirs again' }).waitFor()
  })

  await t.test('Changes that are not saved are not lost without a question', async (t) => {
    await page.getByRole('button', { name: 'Edit' }).click()
    await text.fill('not yet')
    await page.getByRole('button', { name: 'Back to the list' }).click()
    await page.getByRole('dialog').getByRole('button', { name: 'Cancel' }).click()
    t.equal(await text.inputValue(), 'not yet')
    await page.getByRole('button', { name: 'Changed in this run' }).click()
    await page.getByRole('dialog').getByRole('button', { name: 'Cancel' }).click()
    t.equal(await text.inputValue(), 'not yet')
    await page.locator('.panel-head').getByRole('button', { name: 'Close' }).click()
    await page.keyboard.press('Control+Shift+F')
    t.equal(await text.inputValue(), 'not yet', 'a closed panel keeps them')
    await page.getByRole('button', { name: 'Back to the list' }).click()
    await page.getByRole('dialog').getByRole('button', { name: 'Discard' }).click()
    await page.locator('.tree').waitFor()
    t.equal(await inSandbox('long.txt'), 'theirs again\n')
  })

  await t.test('Line breaks and the mark of the encoding stay as they are', async (t) => {
    await open('dos.txt')
    await page.getByRole('button', { name: 'Edit' }).click()
    await text.fill('one\nnew\ntwo\n')
    await text.press('Control+s')
    await page.getByText('Not saved').waitFor({ state: 'detached' })
    t.equal(await inSandbox('dos.txt'), 'one\r\nnew\r\ntwo\r\n')
    await page.getByRole('button', { name: 'Back to the list' }).click()
    await open('bom.txt')
    await page.getByRole('button', { name: 'Edit' }).click()
    await text.press('Control+End')
    await page.keyboard.type('more')
    await page.keyboard.press('Control+s')
    await page.getByText('Not saved').waitFor({ state: 'detached' })
    await bash('od -An -tx1 bom.txt > hex')
    t.match(await inSandbox('hex'), /^ ef bb bf 62 6f 6d 0a 6d 6f 72 65\n$/)
    await page.getByRole('button', { name: 'Back to the list' }).click()
  })

  await t.test('What saving would change is not edited: other encodings, and several kinds of line breaks', async (t) => {
    await open('latin.txt')
    t.equal(await page.getByRole('button', { name: 'Edit' }).count(), 0)
    await page.getByRole('button', { name: 'Back to the list' }).click()
    await open('mixed.txt')
    t.equal(await page.getByRole('button', { name: 'Edit' }).isDisabled(), true)
    t.equal(await page.getByRole('button', { name: 'Edit' }).getAttribute('title'), 'It has several kinds of line breaks.')
  })
})
