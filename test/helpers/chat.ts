import type { Page } from 'playwright-core'

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
