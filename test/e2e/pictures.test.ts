import t, { type Test } from 'tap'
import { noBrowser, openBrowser, openPage } from '../helpers/browser.js'
import { finished, local, openChat, scripted, send } from '../helpers/chat.js'
import { fakeService, sandbox, someAnswers } from '../helpers/fake-service.js'
import { png } from '../helpers/png.js'
import { startService } from '../helpers/service.js'

const base = `/api/modal/sandbox/${sandbox.id}`
const red = png(40, 30)
const chosen = (name: string, buffer = red, mimeType = 'image/png') => ({ name, mimeType, buffer })

if (noBrowser || process.env.TEST_LIVE === '1') {
  t.test('Pictures in the chat', { skip: noBrowser || 'the page test drives the scripted model' }, async () => {})
} else {
  const browser = await openBrowser()
  t.teardown(() => browser.close())
  const service = await startService({ ...local, ACCOUNTS: '' })
  t.teardown(() => service.close())

  /** What the clipboard has is pasted into the prompt. */
  const paste = async (page: any, file: { name: string, type: string, data: string }, text?: string) => {
    await page.getByLabel('Prompt', { exact: true }).evaluate((input: any, [{ name, type, data }, text]: any) => {
      const { DataTransfer, File, ClipboardEvent, atob } = input.ownerDocument.defaultView
      const clipboardData = new DataTransfer()
      const bytes = Uint8Array.from(atob(data), (character: string) => character.charCodeAt(0))
      clipboardData.items.add(new File([bytes], name, { type }))
      if (text !== undefined) clipboardData.setData('text/plain', text)
      input.dispatchEvent(new ClipboardEvent('paste', { clipboardData, bubbles: true, cancelable: true }))
    }, [file, text])
  }
  const pasted = { name: 'image.png', type: 'image/png', data: red.toString('base64') }
  const attached = (page: any) => page.locator('.attachments img')
  const widths = async (images: any) => await images.evaluateAll(async (all: any[]) =>
    await Promise.all(all.map(async (image) => await image.decode().then(() => image.naturalWidth))))

  /** A chat with a service that says what it is told to. */
  const openFake = async (t: Test, answers = {}) => {
    const opened = await openPage(t, browser, service.url)
    const fake = await fakeService(opened.page, someAnswers(answers))
    await opened.page.goto(`${service.url}/#sandbox=${sandbox.id}`)
    await opened.page.locator('.turns > *').first().waitFor()
    return { ...opened, ...fake }
  }
  const attach = async (page: any, ...files: object[]) => await page.locator('.attachments input').setInputFiles(files)

  t.test('Pictures go with the prompt to the model, and are in the conversation after a reload', async (t) => {
    const { page } = await openPage(t, browser, service.url)
    await page.goto(`${service.url}/#code=${service.app.signInCode}`)
    await page.getByRole('button', { name: 'New sandbox' }).click()
    await page.locator('.welcome').waitFor()
    await paste(page, pasted)
    await attached(page).first().waitFor()
    await attach(page, chosen('two.png'), chosen('three.png', png(50, 10)))
    await attached(page).nth(2).waitFor()
    await page.getByRole('button', { name: 'Remove picture 2' }).click()
    t.strictSame(await widths(attached(page)), [40, 50])
    await send(page, 'What is this?')
    await finished(page)
    t.equal(await attached(page).count(), 0)
    t.match(await page.locator('.claude').innerText(), /With 2 images \(image\/png, /)
    const shown = page.locator('.prompt img')
    t.strictSame(await widths(shown), [40, 50])
    await attach(page, chosen('four.png'))
    await attached(page).waitFor()
    await page.getByRole('button', { name: 'Send' }).click()
    await page.locator('.turn').nth(1).locator('.run-footer').waitFor()
    t.match(await page.locator('.claude').last().innerText(), /With 1 image \(/, 'a picture needs no words')

    await page.reload()
    await page.locator('.turn').nth(1).locator('.run-footer').waitFor()
    t.strictSame(await widths(shown), [40, 50, 40])
    t.equal(await shown.first().getAttribute('alt'), 'Picture 1')
    t.match(await page.locator('.prompt').first().innerText(), /^You:\s+What is this\?\s*$/)
    t.match(await page.locator('.run-footer').last().innerText(), /\$/, 'its run is found')

    await send(page, scripted([
      [{ tool: 'Bash', input: { command: `echo ${red.toString('base64')} | base64 -d > red.png` } }],
      [{ tool: 'Read', input: { file_path: '/workspace/red.png' } }],
      [{ text: 'Red.' }]
    ]))
    await page.locator('.turn').nth(2).locator('.run-footer').waitFor()
    for (const reload of [false, true]) {
      if (reload) await page.reload()
      const card = page.locator('.tool[data-tool=Read]').last()
      await card.locator('summary').click()
      await card.getByRole('img', { name: 'red.png' }).waitFor()
      t.strictSame(await widths(card.locator('img')), [40])
    }
  })

  t.test('Other files that are attached or pasted go to the workspace, and are mentioned', async (t) => {
    const { page } = await openChat(t)
    const prompt = page.getByLabel('Prompt', { exact: true })
    const holds = async (text: string) => { while (await prompt.inputValue() !== text) await page.waitForTimeout(20) }
    await attach(page, chosen('table.csv', Buffer.from('a,b'), 'text/csv'), chosen('one.png'))
    await attached(page).waitFor()
    await holds('@table.csv ')
    await paste(page, { name: 'notes.pdf', type: 'application/pdf', data: Buffer.from('%PDF').toString('base64') })
    await holds('@table.csv @notes.pdf ')
    const chart = { file_path: '/workspace/out/my chart.svg', content: '<svg xmlns="http://www.w3.org/2000/svg" width="60" height="30"/>' }
    const script = [[{ tool: 'Write', input: chart }], [{ text: 'Here: ![The chart](out/my%20chart.svg) and ![not there](none.txt).' }]]
    await prompt.fill(scripted(script))
    await prompt.press('Enter')
    const picture = page.getByRole('img', { name: 'The chart' })
    await t.test('Pictures of the workspace that Claude shows are shown, now and after a reload', async (t) => {
      await finished(page)
      await picture.waitFor()
      t.strictSame(await widths(picture), [60])
      t.match(await page.locator('.claude .markdown').innerText(), /and not there\.$/)
      await page.reload()
      await picture.waitFor()
      t.strictSame(await widths(picture), [60])
    })

    await t.test('So they are among the files, SVG with its text', async (t) => {
      await page.getByRole('button', { name: 'Files', exact: true }).click()
      await page.locator('summary.file', { hasText: 'out' }).click()
      await page.locator('.tree button.file', { hasText: 'my chart.svg' }).click()
      const file = page.locator('.file-content')
      await file.locator('img').waitFor()
      t.strictSame(await widths(file.locator('img')), [60])
      t.match(await file.innerText(), /<svg xmlns/)
    })
  })

  t.test('A picture that cannot go is refused in plain words', async (t) => {
    const { page } = await openFake(t)
    const problem = page.locator('.attachment-problem')
    await attach(page, chosen('big.png', Buffer.concat([red, Buffer.alloc(2_625_000)])))
    await problem.getByText('“big.png” is too large: a picture can have at most 2.6 MB.').waitFor()
    await attach(page, chosen('logo.png', Buffer.from('<svg xmlns="http://www.w3.org/2000/svg"/>')), chosen('good.png'))
    await problem.getByText('“logo.png” is not a PNG, JPEG, GIF or WebP picture.').waitFor()
    await attached(page).waitFor()
    await attach(page, ...Array.from({ length: 10 }, (_, at) => chosen(`${at}.png`)))
    await problem.getByText('A prompt can have at most 10 pictures.').waitFor()
    t.equal(await attached(page).count(), 10)
    await page.getByRole('button', { name: 'Remove picture 10' }).click()
    t.equal(await problem.innerText(), '')
    await paste(page, pasted, 'Cells of a sheet')
    t.equal(await attached(page).count(), 9, 'text that comes with its picture is text')
  })

  t.test('A queued prompt keeps its pictures, and says so when a reload has lost them', async (t) => {
    const { page, on } = await openFake(t)
    await send(page, 'First')
    const run = on(`${base}/claude`)
    await run.opened()
    await attach(page, chosen('one.png'))
    await attached(page).waitFor()
    await send(page, 'Second')
    t.equal(await page.locator('.queued').innerText(), 'Second (1 picture)')
    t.equal(await attached(page).count(), 0, 'they are not of the next prompt')
    await page.locator('.queued').click()
    t.equal(await page.getByLabel('Prompt', { exact: true }).inputValue(), 'Second')
    t.equal(await attached(page).count(), 1)
    await page.getByLabel('Prompt', { exact: true }).press('Enter')
    const completion = { outcome: 'result', exitCode: 0, isError: false, durationMs: 1, costUsd: 0, usage: null, sessionId: 's' }
    await run.emit(['run.started', { runId: 'r', sandboxId: sandbox.id, sessionId: 's', startedAt: sandbox.createdAt }], ['run.completed', completion])
    await page.locator('.prompt img').waitFor()
    const sent = await page.evaluate('sent.map(({ prompt }) => prompt)')
    t.strictSame(sent, ['First', [{ type: 'text', text: 'Second' }, { type: 'image', mediaType: 'image/png', data: pasted.data }]])
    await attach(page, chosen('one.png'))
    await attached(page).waitFor()
    await send(page, 'Third')
    await attach(page, chosen('two.png'))
    await attached(page).waitFor()
    await page.getByRole('button', { name: 'Queue' }).click()
    t.strictSame(await page.locator('.queued').allInnerTexts(), ['Third (1 picture)', '1 picture'])
    await page.reload()
    await page.locator('.queued').waitFor()
    t.equal(await page.locator('.queued').innerText(), 'Third (1 picture, lost when the page was reloaded)')
  })

  t.test('What a sandbox says is a picture is shown only if it is one, and loads nothing', async (t) => {
    const bad = [
      { type: 'base64', media_type: 'image/svg+xml', data: Buffer.from('<svg xmlns="http://www.w3.org/2000/svg" onload="pwned()"/>').toString('base64') },
      { type: 'base64', media_type: 'image/png', data: '"><script>pwned()</script>' },
      { type: 'url', url: 'http://evil.invalid/x.png' }, null, 'x'
    ]
    const session = { sessionId: 's', title: 'x', startedAt: sandbox.createdAt, updatedAt: sandbox.createdAt, messages: 1 }
    const content = [{ type: 'text', text: 'Look' }, null, ...bad.map((source) => ({ type: 'image', source }))]
    const { page } = await openFake(t, {
      [`GET ${base}/sessions`]: { sessions: [session] },
      [`GET ${base}/sessions/s`]: { sessionId: 's', next: null, messages: [{ id: 'u', type: 'user', time: sandbox.createdAt, parentToolUseId: null, message: { role: 'user', content } }] }
    })
    await page.locator('.prompt').waitFor()
    t.equal(await page.locator('.prompt img').count(), 0)
    t.equal(await page.locator('.prompt').getByText(/^Picture \d: cannot be shown here$/).count(), 5)
    t.equal(await page.evaluate('window.wasPwned'), undefined)
  })
}
