import t, { type Test } from 'tap'
import { noBrowser, openBrowser, openPage } from '../helpers/browser.js'
import { local } from '../helpers/chat.js'
import { fakeService, sandbox, someAnswers } from '../helpers/fake-service.js'
import { startService } from '../helpers/service.js'

const base = `/api/modal/sandbox/${sandbox.id}`
const session = { sessionId: 's', title: 'مرحبا', startedAt: sandbox.createdAt, updatedAt: sandbox.createdAt, messages: 2 }
const says = (role: 'user' | 'assistant', content: unknown) =>
  ({ id: role, type: role, time: sandbox.createdAt, parentToolUseId: null, message: { role, content } })

if (noBrowser || process.env.TEST_LIVE === '1') {
  t.test('Text in the chat', { skip: noBrowser || 'needs no sandbox' }, async () => {})
} else {
  const browser = await openBrowser()
  t.teardown(() => browser.close())
  const service = await startService(local)
  t.teardown(() => service.close())

  /** A chat with this prompt and answer. */
  const open = async (t: Test, text: string, prompt = 'Hello') => {
    const opened = await openPage(t, browser, service.url)
    await fakeService(opened.page, someAnswers({
      [`GET ${base}/sessions`]: { sessions: [session] },
      [`GET ${base}/sessions/s`]: { sessionId: 's', next: null, messages: [says('user', prompt), says('assistant', [{ type: 'text', text }])] }
    }))
    await opened.page.goto(`${service.url}/#sandbox=${sandbox.id}`)
    await opened.page.locator('.markdown > *').first().waitFor()
    return opened
  }

  t.test('The columns of a table are aligned as their markers say (7.6)', async (t) => {
    const { page } = await open(t, '| a | b | c | d |\n|---|:--|:-:|--:|\n| 1 | 2 | 3 | 4 |')
    const aligned = await page.locator('.table td').evaluateAll((cells: any[]) => cells.map((cell) => cell.ownerDocument.defaultView.getComputedStyle(cell).textAlign.replace('-webkit-', '')))
    t.strictSame(aligned, ['start', 'left', 'center', 'right'])
  })

  t.test('A footnote is where it was written, with its label, and other brackets stay as they are (7.6)', async (t) => {
    const { page } = await open(t, 'So.[^1] And [^a-z] is a set.\n\n[^1]: A **note**,\n  on two lines.\n[^two]: Another.\n\nThe end.')
    t.equal(await page.locator('.markdown p').first().innerHTML(), 'So.<sup class="footnote-label">1</sup> And [^a-z] is a set.')
    t.strictSame(await page.locator('.footnote').allInnerTexts(), ['1 A note,\non two lines.', 'two Another.'])
    t.equal(await page.locator('.footnote strong').innerText(), 'note')
    t.equal(await page.locator('.markdown > p').last().innerText(), 'The end.')
  })

  t.test('Each paragraph, and what users write, has the direction of its language', async (t) => {
    const arabic = 'مرحبا بالعالم'
    const { page } = await open(t, `Left.\n\n${arabic}، نعم.\n\n- ${arabic}\n\n\`\`\`\n${arabic}\n\`\`\``, arabic)
    const direction = (selector: string) => page.evaluate(`getComputedStyle(document.querySelector('${selector}')).direction`)
    t.equal(await direction('.markdown > p:nth-child(1)'), 'ltr')
    t.equal(await direction('.markdown > p:nth-child(2)'), 'rtl')
    t.equal(await direction('.markdown > ul'), 'rtl')
    t.equal(await direction('.markdown > .code'), 'ltr', 'code is written from left to right')
    t.equal(await direction('.prompt'), 'rtl')
    t.equal(await direction('.conversation-title'), 'rtl')
    await page.getByLabel('Prompt', { exact: true }).fill(arabic)
    t.equal(await direction('#prompt'), 'rtl')
  })

  t.test('Formulas are typeset, and money is not; what is no TeX stays as it was written', async (t) => {
    const { page } = await open(t,
      'It is $e^{i\\pi}$ or \\(a_1\\), for $5 and $10, or $x$5.\n\n$$\n\\int_0^1 x\\,dx\n$$\n\n\\[ y \\]\n\nBad: $\\nosuch{$ and `$code$`.')
    await page.locator('.math.display .katex').nth(1).waitFor()
    t.equal(await page.locator('.math.inline .katex').count(), 2)
    const [first, last] = [page.locator('.markdown > p').first(), page.locator('.markdown > p').last()]
    t.match(await first.innerText(), /for \$5 and \$10, or \$x\$5\./)
    t.match(await last.innerText(), /Bad: \$\\nosuch\{\$ and \$code\$\./)
    t.match(await first.locator('math').first().textContent(), /e/, 'for screen readers, too')
    t.equal(await page.evaluate("document.fonts.check('16px KaTeX_Main')"), true)
    t.equal(await page.locator('.markdown a, .markdown img, .markdown [onclick]').count(), 0)
  })

  t.test('TeX can neither link, load nor style beyond its formula', async (t) => {
    const { page } = await open(t,
      '$\\href{javascript:alert(1)}{x}$ $\\includegraphics{http://evil.invalid/x.png}$ $\\htmlStyle{position:fixed}{x}$ $\\rule{9999em}{9999em}$ $ok$')
    await page.locator('.math .katex').last().waitFor()
    t.equal(await page.locator('.markdown :is(a, img, [style*=fixed], [href])').count(), 0)
    const size = await page.locator('.markdown').evaluate((element: any) => element.scrollHeight)
    t.ok(size < 2000, `${size} px high`)
  })

  t.test('A diagram is drawn as an image, with its source behind it; what is none stays code', async (t) => {
    const { page, allow } = await open(t, '```mermaid\ngraph TD\n  A["<img src=x onerror=alert(1)>"] --> B[End]\n```\n\n```mermaid\nnonsense here\n```')
    const [good, bad] = [page.locator('.code').nth(0), page.locator('.code').nth(1)]
    const image = good.locator('img')
    await image.waitFor()
    t.match(await image.getAttribute('src'), /^data:image\/svg\+xml/)
    t.ok(await image.evaluate((element: any) => element.decode().then(() => element.naturalWidth > 50)), 'the browser can show it')
    t.equal(await good.locator('pre').isVisible(), false)
    await good.getByRole('button', { name: 'Source' }).click()
    t.match(await good.locator('pre').innerText(), /graph TD/)
    t.equal(await image.isVisible(), false)
    await page.waitForTimeout(500)
    t.equal(await bad.locator('img').count(), 0)
    t.ok(await bad.locator('pre').isVisible())
    t.ok(await page.locator('iframe').evaluate((frame: any) => frame.contentDocument === null), 'the frame has no origin')
    // The library parses labels as HTML: the policy of its frame lets nothing in them run.
    allow(/Executing inline event handler violates .* 'script-src 'self''/)
  })
}
