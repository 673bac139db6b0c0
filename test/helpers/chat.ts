import type { Page } from 'playwright-core'

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
