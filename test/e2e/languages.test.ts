import t from 'tap'
import type { Page } from 'playwright-core'
import { noBrowser, openBrowser, openPage } from '../helpers/browser.js'
import { finished, local, scripted, send } from '../helpers/chat.js'
import { keys, startService } from '../helpers/service.js'

const wordsOf = async (language: string) =>
  (await import(new URL(`../../static/words/${language}.js`, import.meta.url).href) as { default: object }).default

/** A language with a few words of its own, as somebody may have begun one. */
const arabic = `import en from './en.js'
export default {
  ...en,
  dir: 'rtl',
  common: { ...en.common, newSandbox: 'صندوق رمل جديد' },
  chat: { ...en.chat, welcome: 'ماذا يجب أن يفعل Claude؟' },
  composer: { ...en.composer, ask: 'اطلب من Claude شيئًا…', send: 'إرسال' }
}`

if (noBrowser || process.env.TEST_LIVE === '1') {
  t.test('Languages of the page', { skip: noBrowser || 'drives the scripted model' }, async () => {})
} else {
  const [browser, service] = await Promise.all([openBrowser(), startService(local)])
  t.teardown(async () => {
    await browser.close()
    await service.close()
  })

  t.test('From the sign-in to the end of the sandbox, everything is German for a browser that is set to it', async (t) => {
    const { page, allow } = await openPage(t, browser, service.url, { locale: 'de-DE', viewport: { width: 390, height: 844 } })
    const isGerman = async (where: string) => {
      t.strictSame(await leftovers(page), [], `${where}: nothing is left in English`)
      t.strictSame(await cut(page), [], `${where}: nothing is cut`)
    }
    await page.goto(service.url)
    await page.getByRole('heading', { name: 'Anmelden' }).waitFor()
    t.strictSame(await page.evaluate('[document.documentElement.lang, document.documentElement.dir]'), ['de', 'ltr'])
    await isGerman('the sign-in')
    await page.getByLabel('API-Schlüssel').fill('wrong')
    await page.getByRole('button', { name: 'Anmelden' }).click()
    const alert = page.getByRole('alert')
    await alert.getByText('Prüfe den Schlüssel').waitFor()
    t.equal(await alert.locator('.notice-message').getAttribute('lang'), 'en', 'what the service says is English')
    allow(/status of 401/)

    await page.getByLabel('API-Schlüssel').fill(keys.alice)
    await page.getByRole('button', { name: 'Anmelden' }).click()
    await page.getByRole('heading', { name: 'Deine Sandboxes' }).waitFor()
    await isGerman('the start')
    await page.getByRole('button', { name: 'Optionen' }).click()
    for (const section of await page.locator('.section:not([open]) > summary').all()) await section.click()
    await isGerman('the options')
    await page.getByRole('button', { name: 'Erstellen' }).click()
    await page.getByRole('heading', { name: 'Was soll Claude tun?' }).waitFor()
    await isGerman('an empty chat')
    await send(page, scripted([[{ tool: 'Bash', input: { command: 'echo one > one.txt' } }], [{ text: 'Written.' }]]))
    await finished(page)
    t.match(await page.locator('.run-footer').innerText(), /^Fertig\s+.*\d,\d+ s/s, 'numbers are written as in German')
    await isGerman('an answer')
    await page.getByRole('button', { name: 'Dateien' }).click()
    await page.locator('.tree .file', { hasText: 'one.txt' }).click()
    await page.locator('.file-content', { hasText: 'one' }).waitFor()
    await isGerman('a file')
    await page.getByRole('button', { name: 'Schließen' }).click()
    for (const panel of ['Änderungen', 'Terminal']) {
      await page.getByRole('button', { name: panel }).click()
      await page.locator('.panel-body > :not([hidden])').waitFor()
      await isGerman(panel)
      await page.getByRole('button', { name: 'Schließen', exact: true }).click()
    }
    await page.getByRole('button', { name: 'Unterhaltungen' }).click()
    await page.locator('.rail-row').first().waitFor()
    await isGerman('the conversations')
    await page.getByRole('dialog').getByRole('button', { name: 'Schließen' }).click()
    await page.getByRole('button', { name: 'Sitzung beenden' }).click()
    await isGerman('the question')
    await page.getByRole('dialog').getByRole('button', { name: 'Sitzung beenden' }).click()
    await page.getByRole('heading', { name: 'Du hast diese Sitzung beendet.' }).waitFor()
    await isGerman('the end')
  })

  t.test('Another language than the browser\'s is chosen on the page, and kept', async (t) => {
    const { page } = await openPage(t, browser, service.url)
    await page.goto(service.url)
    await page.getByRole('heading', { name: 'Sign in' }).waitFor()
    await page.getByLabel('Language').selectOption('Deutsch')
    await page.getByRole('heading', { name: 'Anmelden' }).waitFor()
    await page.reload()
    await page.getByRole('heading', { name: 'Anmelden' }).waitFor()
    await page.getByLabel('Sprache').selectOption('Wie im Browser')
    await page.getByRole('heading', { name: 'Sign in' }).waitFor()
  })

  t.test('A language that is written from right to left has everything on the other side, but code and paths', async (t) => {
    const { page } = await openPage(t, browser, service.url, { locale: 'ar' })
    await page.route(/\/words\/ar\.js$/, (route) => route.fulfill({ body: arabic, contentType: 'text/javascript' }))
    await page.route(/\/lib\/words\.\w+\.js$/, async (route) => {
      const response = await route.fetch()
      const body = (await response.text()).replace("languages = ['en', 'de']", "languages = ['en', 'de', 'ar']")
      await route.fulfill({ response, body })
    })
    await page.context().request.post(`${service.url}/api/session`, { data: { credential: keys.bob } })
    await page.goto(service.url)
    await page.getByRole('button', { name: 'صندوق رمل جديد' }).click()
    await page.getByRole('heading', { name: 'ماذا يجب أن يفعل' }).waitFor()
    t.strictSame(await page.evaluate('[document.documentElement.lang, document.documentElement.dir]'), ['ar', 'rtl'])
    await send(page, scripted([[{ tool: 'Bash', input: { command: 'mkdir -p src/deep; echo one > src/deep/one.txt' } }], [{ text: '`a` is `b/c.txt`.\n\n```js\nconst one = 1\n```' }]]))
    await finished(page)
    const box = async (selector: string) => (await page.locator(selector).first().boundingBox())!
    const rail = page.locator('#rail')
    if (!await rail.isVisible()) await page.getByRole('button', { name: 'Conversations' }).click()
    await rail.waitFor()
    for (const width of [1280, 390]) {
      await page.setViewportSize({ width, height: 844 })
      t.strictSame(await cut(page), [], `nothing is cut at ${width} px`)
      const [send, attach, composer] = [await box('.send'), await box('.attach'), await box('.composer')]
      t.ok(send.x < attach.x && send.x < composer.x + composer.width / 4, `the button is at the end of the line, at ${width} px`)
      const [prompt, turn] = [await box('.prompt'), await box('.turn')]
      t.ok(prompt.x - turn.x < 8, 'a prompt is on the other side than an answer')
    }
    t.equal(await page.evaluate("getComputedStyle(document.querySelector('.markdown .code')).direction"), 'ltr')
    t.equal(await page.evaluate("getComputedStyle(document.querySelector('.markdown p code')).direction"), 'ltr')
    await page.setViewportSize({ width: 1280, height: 844 })
    const conversations = await box('#rail')
    t.ok(conversations.x + conversations.width > 1270, 'the conversations are on the right')
    await page.locator('.rail-more').first().click({ force: true })
    const menu = await box('.rail-menu')
    t.ok(menu.x > 0 && menu.x + menu.width <= 1280, 'a menu is on the page')
    await page.keyboard.press('Escape')
    await page.getByRole('button', { name: 'Files' }).click()
    await page.locator('summary.file', { hasText: 'src' }).click()
    await page.locator('summary.file', { hasText: 'deep' }).click()
    await page.locator('.tree .file', { hasText: 'one.txt' }).waitFor()
    t.ok((await box('.panel')).x < 8, 'a panel is on the left')
    t.strictSame(await cut(page), [])
    const [folder, name] = [await box('summary.file .icon'), await box('summary.file .file-name')]
    t.ok(folder.x > name.x, 'the symbol comes first')
    t.equal(await page.evaluate("getComputedStyle(document.querySelector('.file-name')).direction"), 'ltr')
  })
}

/** What stands on the page in English and is another text in German. */
async function leftovers (page: Page): Promise<string[]> {
  const textsOf = (words: object): string[] => Object.values(words).flatMap((word) =>
    typeof word === 'string' ? [word] : typeof word === 'object' ? textsOf(word as object) : [])
  const others = new Set(textsOf(await wordsOf('de')))
  const wrong = textsOf(await wordsOf('en')).filter((text) => !others.has(text))
  return await page.evaluate(`(() => {
    const texts = []
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT)
    for (let node = walker.nextNode(); node; node = walker.nextNode()) texts.push(node.data.trim())
    for (const element of document.querySelectorAll('body *')) {
      for (const name of ['aria-label', 'title', 'placeholder', 'alt']) texts.push(element.getAttribute(name) ?? '')
    }
    return texts.filter((text) => ${JSON.stringify(wrong)}.includes(text))
  })()`)
}

/** What is wider than its place: but for names of the user's, which are shortened on purpose. */
async function cut (page: Page): Promise<string[]> {
  return await page.evaluate(`(() => {
    const shortened = '.conversation-title, .sandbox-bar-name, .rail-title, .rail-meta, .file-name, .tool-main, .tool-error, .usage > summary, .visually-hidden'
    return [...document.querySelectorAll('body *:not(option, iframe, svg, svg *)')].filter((element) => {
      const style = getComputedStyle(element)
      const { left, right, width } = element.getBoundingClientRect()
      if (width < 2 || !element.checkVisibility({ visibilityProperty: true, opacityProperty: true })) return false
      if (element.closest(shortened)) return false
      const scrolls = element.closest('pre, .scroller, .diff') !== null || ['auto', 'scroll'].includes(style.overflowX)
      const tooWide = style.display !== 'inline' && element.scrollWidth > element.clientWidth + 1
      return !scrolls && (tooWide || left < -1 || right > innerWidth + 1)
    }).map((element) => element.tagName + '.' + element.className + ': ' + element.textContent.slice(0, 60))
  })()`)
}
