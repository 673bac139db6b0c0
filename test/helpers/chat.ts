import type { Page } from 'playwright-core'
import type { Test } from 'tap'
import { openBrowser, openPage } from './browser.js'
import { startService } from './service.js'

/** Settings of a service with the scripted model, whatever is set where the tests run. */
export const local = { MODAL_TOKEN_ID: '', MODAL_TOKEN_SECRET: '', ANTHROPIC_API_KEY: '' }

/** A prompt that the scripted model answers as told. */
export function scripted (script: unknown) {
  return `Play this.\n\`\`\`scripted\n${JSON.stringify(script)}\n\`\`\``
}

export async function send (page: Page, text: string) {
  await page.getByLabel('Prompt', { exact: true }).fill(text)
  await page.getByLabel('Prompt', { exact: true }).press('Enter')
}

/** The newest run is over. */
export async function finished (page: Page) {
  await page.locator('.turn').last().locator('.run-footer').waitFor()
}

/** A browser of its own, signed in to a service of its own, with the chat of a new sandbox on the page. */
export async function openChat (t: Test) {
  const service = await startService({ ...local, ACCOUNTS: '' })
  t.teardown(() => service.close())
  const browser = await openBrowser()
  t.teardown(() => browser.close())
  const opened = await openPage(t, browser, service.url)
  const { page } = opened
  await page.goto(`${service.url}/#code=${service.app.signInCode}`)
  await page.getByRole('button', { name: 'New sandbox' }).click()
  await page.locator('.welcome').waitFor()
  return { ...opened, browser, service }
}

/** The id of the sandbox whose chat is shown. */
export function sandboxOn (page: Page): string {
  return /#sandbox=([^/]+)/.exec(page.url())![1]!
}
