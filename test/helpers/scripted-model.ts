import type { Test } from 'tap'
import { startScriptedModel, type Script } from '../../emulator/model/index.js'

/** How the demo begins: it says that nobody talks to Claude here. */
export const withoutClaude = /^\*\*Scripted demo model\*\* \(no API key is set, so this is not Claude\)/

/** A prompt that is answered with the script. */
export function scripted (script: Script): string {
  return `\nPlay this:\n\`\`\`scripted\n${JSON.stringify(script)}\n\`\`\`\n`
}

export async function startModel (t: Test) {
  const model = await startScriptedModel()
  t.teardown(async () => model.close())
  return model
}
