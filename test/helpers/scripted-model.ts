import { syncBuiltinESMExports } from 'node:module'
import timers from 'node:timers/promises'
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

/**
 * Runs `replacement` for the scripted model's pauses of this length, and touches no other timer: what it waits for can
 * then be watched, or tied to an event, however busy the machine is.
 */
export function replacePauses (
  t: Test, ms: number, replacement: (pause: () => Promise<unknown>) => Promise<void>
): void {
  const { setTimeout: sleep } = timers
  timers.setTimeout = async <T>(delay?: number, value?: T, options?: object) => {
    const pause = () => sleep(delay, value, options)
    if (delay !== ms) return await pause()
    await replacement(pause)
    return value as T
  }
  syncBuiltinESMExports()
  t.teardown(() => {
    timers.setTimeout = sleep
    syncBuiltinESMExports()
  })
}
