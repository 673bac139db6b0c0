import { accessSync, constants } from 'node:fs'
import { delimiter, join } from 'node:path'
import { chromium, type Browser, type BrowserContextOptions } from 'playwright-core'
import type { Test } from 'tap'

const executablePath = (process.env.PATH ?? '').split(delimiter)
  .flatMap((folder) => ['chromium', 'chromium-browser', 'google-chrome'].map((name) => join(folder, name)))
  .find(isExecutable)

/** For tests that need a browser. */
export const noBrowser = executablePath === undefined && 'Chromium is not installed'

/** A headless browser that talks to nobody but the page's own service. */
export async function openBrowser (): Promise<Browser> {
  return await chromium.launch({
    executablePath: executablePath!,
    args: [
      '--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
      '--disable-component-update', '--disable-sync'
    ]
  })
}

/**
 * A page in a profile of its own. The test fails when anything goes wrong in it: exceptions, console errors and
 * warnings (breaches of the content security policy are such), dialogs that a script opened, requests to anywhere
 * else. What a test brings about on purpose it says with `allow`.
 */
export async function openPage (t: Test, browser: Browser, url: string, options: BrowserContextOptions = {}) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 800 }, ...options })
  const page = await context.newPage()
  page.setDefaultTimeout(60_000)
  const problems: string[] = []
  const allowed: RegExp[] = []
  page.on('pageerror', (error) => problems.push(`exception: ${error.message}`))
  page.on('console', (message) => {
    if (!['error', 'warning'].includes(message.type())) return
    problems.push(`${message.type()}: ${message.text()} (${message.location().url})`)
  })
  page.on('dialog', (dialog) => {
    problems.push(`dialog: ${dialog.message()}`)
    dialog.dismiss().catch(() => {})
  })
  page.on('request', (request) => {
    if (!request.url().startsWith(url)) problems.push(`request to ${request.url()}`)
  })
  t.teardown(async () => {
    await context.close()
    const wrong = problems.filter((problem) => !allowed.some((pattern) => pattern.test(problem)))
    // An error that is thrown would leave out the teardowns that are still to come: those of the browser and service.
    if (wrong.length > 0) t.threw(new Error(`The page had problems:\n${wrong.join('\n')}`))
  })
  return { page, allow: (pattern: RegExp) => { allowed.push(pattern) } }
}

function isExecutable (path: string) {
  try {
    accessSync(path, constants.X_OK)
    return true
  } catch {
    return false
  }
}
