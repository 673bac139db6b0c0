import t from 'tap'
import type { Page } from 'playwright-core'
import { noBrowser, openBrowser, openPage } from '../helpers/browser.js'
import { finished, local, scripted } from '../helpers/chat.js'
import { keys, startService } from '../helpers/service.js'

const skip = noBrowser || (process.env.TEST_LIVE === '1' && 'drives the scripted model')
const everything = scripted([
  [{ thinking: 'First I look.' }, { tool: 'Write', input: { file_path: '/workspace/a.js', content: 'let a = 1\n' } }],
  [{ tool: 'Edit', input: { file_path: '/workspace/a.js', old_string: 'let a = 1', new_string: 'let a = 2' } }],
  [{ tool: 'Bash', input: { command: 'echo broken >&2; exit 3' } }],
  [{ text: '# Title\n\nSome `code`, a [link](https://example.com), **strong**.\n\n> quoted\n\n```js\nconst a = "text" // 1\n```\n\n| a | b |\n|---|---|\n| 1 | 2 |\n', chunk: 4, delayMs: 20 }]
])

t.test('From signing in to the end of the session with the keyboard alone, accessible throughout (7.1-7.8)', { skip }, async (t) => {
  const [browser, service] = await Promise.all([
    openBrowser(), startService(local)
  ])
  t.teardown(async () => {
    await browser.close()
    await service.close()
  })
  const { page } = await openPage(t, browser, service.url, { reducedMotion: 'reduce' })
  /** Every control has a name, all text has enough contrast in both themes, and nothing is animated. */
  const checkAccessible = async (place: string) => {
    const snapshot = await page.locator('body').ariaSnapshot()
    t.strictSame(snapshot.match(/^ *- (button|textbox|link|combobox|checkbox|spinbutton|progressbar|dialog|complementary)(?! ")(?=[:\s[]|$).*$/gm) ?? [], [], `${place}: names`)
    for (const colorScheme of ['light', 'dark'] as const) {
      await page.emulateMedia({ colorScheme })
      t.strictSame(await page.evaluate(lowContrast), [], `${place}: contrast, ${colorScheme}`)
    }
    t.strictSame(await page.evaluate(animated), [], `${place}: motion`)
  }

  await page.goto(service.url)
  await page.getByLabel('API key').waitFor()
  await checkAccessible('signing in')
  await page.keyboard.type(keys.alice)
  await page.keyboard.press('Enter')
  await page.getByRole('heading', { name: 'Your sandboxes' }).waitFor()
  await checkAccessible('the first page')
  t.strictSame(await tabTo(page, 'Sign out', 'Shift+Tab'), ['Search conversations', 'Sign out'])
  t.strictSame(await tabTo(page, 'Options'), ['Search conversations', 'New sandbox', 'Options'])
  await page.keyboard.press('Enter')
  await page.getByRole('heading', { name: 'New sandbox' }).waitFor()
  for (const section of ['Lifetime', 'Image', 'Environment', 'S3', 'Network', 'Tags']) {
    await page.locator('summary', { hasText: section }).press('Enter')
  }
  await checkAccessible('the form')
  await tabTo(page, 'Name')
  await page.keyboard.type('by-keyboard')
  await page.keyboard.press('Enter')
  await page.locator('.welcome').waitFor()
  await checkAccessible('an empty chat')
  t.equal(await focused(page), 'Prompt', 'the prompt has the focus')

  await page.keyboard.insertText(everything)
  await page.keyboard.press('Enter')
  await page.locator('#status', { hasText: 'Claude is working' }).waitFor({ state: 'attached' })
  await page.locator('.turn .markdown').first().waitFor()
  await checkAccessible('a run')
  t.equal(await page.locator(':is([aria-live], [role=status], [role=alert], [role=log]) .claude').count(), 0, 'streaming text is not announced')
  t.equal(await page.locator('[aria-hidden=true] .claude').count(), 0, 'but is not hidden from screen readers')
  await finished(page)
  t.equal(await page.locator('#status').innerText(), 'Claude has finished')
  t.match(await page.locator('.turn').ariaSnapshot(), /article "Prompt and answer"[^]*heading "Title"[^]*link "link"[^]*blockquote[^]*table/)

  await page.keyboard.press('Shift+Tab')
  await tabTo(page, 'Edit', 'Shift+Tab')
  await page.keyboard.press('Enter')
  await page.locator('.tool[open] .diff').waitFor()
  t.ok(await hasOutline(page), 'the focus is visible')
  await checkAccessible('an answer')

  await page.keyboard.press('Control+Shift+F')
  await page.locator('.tree .file', { hasText: 'a.js' }).waitFor()
  t.equal(await focused(page), 'Files')
  await checkAccessible('the files')
  await tabTo(page, 'a.js')
  await page.keyboard.press('Enter')
  await page.locator('.file-content code').waitFor()
  t.equal(await focused(page), 'a.js')
  await checkAccessible('a file')
  await page.keyboard.press('Escape')
  t.equal(await focused(page), 'Files', 'back on the button that opened it')

  await page.setViewportSize({ width: 800, height: 800 })
  await page.locator('.rail-button button').focus()
  await page.keyboard.press('Enter')
  await page.locator('.drawer .rail-row').waitFor()
  await checkAccessible('the conversations')
  await page.keyboard.press('Escape')
  t.equal(await page.locator('.drawer').isVisible(), false)
  t.equal(await focused(page), 'Conversations')
  await page.setViewportSize({ width: 1280, height: 800 })
  await page.locator('.rail .rail-row').waitFor()
  await page.keyboard.press('Control+Shift+L')
  t.equal(await focused(page), 'Search conversations')
  await page.keyboard.press('Shift+Escape')
  await tabTo(page, 'More run options')
  await page.keyboard.press('Enter')
  await checkAccessible('the options of runs')
  await page.keyboard.press('Escape')
  t.equal(await focused(page), 'More run options')
  await page.keyboard.press('Tab')
  t.match(await focused(page), /^Context and cost: /)
  await page.keyboard.press('Enter')
  await checkAccessible('context and cost')
  await page.keyboard.press('Escape')

  await page.locator('.sandbox-bar').getByRole('button', { name: 'Files' }).focus()
  await page.keyboard.press('?')
  await checkAccessible('the list of shortcuts')
  await page.keyboard.press('Escape')
  await tabTo(page, 'End session')
  await page.keyboard.press('Enter')
  await checkAccessible('a question')
  t.equal(await focused(page), 'Cancel', 'the destructive choice is not the default')
  await page.keyboard.press('Escape')
  t.equal(await focused(page), 'End session', 'the focus is restored')

  await page.emulateMedia({ colorScheme: 'light', forcedColors: 'active' })
  const style = (selector: string, pseudo = '') =>
    page.evaluate(`({ ...getComputedStyle(document.querySelector('${selector}'), '${pseudo}') })`) as Promise<any>
  t.not((await style('.connection', '::before')).backgroundColor, (await style('.sandbox-bar')).backgroundColor, 'the dot is visible')
  t.equal((await style('.send')).borderTopWidth, '1px', 'buttons have a border')
  await page.emulateMedia({ forcedColors: 'none' })

  await page.keyboard.press('Enter')
  await page.keyboard.press('Tab')
  await page.keyboard.press('Enter')
  await page.getByRole('heading', { name: 'You ended this session.' }).waitFor()
  t.match(await focused(page), /You ended this session/)
  await checkAccessible('the end')
  t.strictSame(await tabTo(page, 'New sandbox with this workspace'), ['New sandbox with this workspace'])
})

/** Presses a key until the element with this name has the focus. @returns the names on the way */
async function tabTo (page: Page, name: string, key = 'Tab') {
  const names: string[] = []
  for (let steps = 0; steps < 60; steps++) {
    await page.keyboard.press(key)
    names.push(await focused(page))
    if (names.at(-1) === name) return names
  }
  throw new Error(`No way to ${name}: ${names.join(', ')}`)
}

/** The name of the focused element. */
async function focused (page: Page): Promise<string> {
  return await page.evaluate(`(() => {
    const { activeElement: one } = document
    return one.getAttribute('aria-label') ?? one.labels?.[0]?.textContent ??
      one.querySelector?.('.tool-name, .file-name, .conversation-title, .step-name')?.textContent ?? one.textContent
  })()`)
}

async function hasOutline (page: Page) {
  return await page.evaluate("getComputedStyle(document.activeElement).outlineStyle !== 'none'")
}

/** Text whose contrast is below 4.5, or below 3 if it is large (WCAG 1.4.3). */
const lowContrast = `(() => {
  const context = new OffscreenCanvas(1, 1).getContext('2d', { willReadFrequently: true })
  const rgba = (color) => {
    context.clearRect(0, 0, 1, 1)
    context.fillStyle = color
    context.fillRect(0, 0, 1, 1)
    const [r, g, b, a] = context.getImageData(0, 0, 1, 1).data
    return [r, g, b, a / 255]
  }
  const over = ([r, g, b, a], [r2, g2, b2]) => [r * a + r2 * (1 - a), g * a + g2 * (1 - a), b * a + b2 * (1 - a), 1]
  const luminance = (color) => color.slice(0, 3).map((value) => value / 255)
    .map((value) => value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4)
    .reduce((sum, value, index) => sum + value * [0.2126, 0.7152, 0.0722][index], 0)
  const behind = (element) => {
    const own = element ? rgba(getComputedStyle(element).backgroundColor) : rgba('Canvas')
    return own[3] === 1 ? own : over(own, behind(element.parentElement))
  }
  const wrong = new Set()
  const check = (element, color, text) => {
    const back = behind(element)
    const [light, dark] = [luminance(over(rgba(color), back)), luminance(back)].sort((one, other) => other - one)
    const { fontSize, fontWeight } = getComputedStyle(element)
    const large = parseFloat(fontSize) >= 24 || (parseFloat(fontSize) >= 18.66 && fontWeight >= 700)
    const ratio = (light + 0.05) / (dark + 0.05)
    if (ratio < (large ? 3 : 4.5)) wrong.add(ratio.toFixed(2) + ' ' + element.className + ': ' + text.slice(0, 40))
  }
  const open = document.querySelector('dialog[open]') ?? document.body
  const walker = document.createTreeWalker(open, NodeFilter.SHOW_TEXT)
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    const element = node.parentElement
    if (node.data.trim() === '' || element.closest('.visually-hidden, .skip, :disabled, noscript, option')) continue
    if (element.checkVisibility({ visibilityProperty: true })) check(element, getComputedStyle(element).color, node.data)
  }
  for (const input of open.querySelectorAll('[placeholder]:placeholder-shown')) {
    if (input.checkVisibility()) check(input, getComputedStyle(input, '::placeholder').color, input.placeholder)
  }
  return [...wrong]
})()`

/** Animations other than fading, which remain although reduced motion is preferred. */
const animated = `document.getAnimations().map((animation) => animation.animationName ?? animation.transitionProperty)
  .filter((name) => name !== 'pulse')`
