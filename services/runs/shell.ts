import { lookupMs } from '../modal/call.js'
import { runCommand, type CommandOptions, type CommandResult } from '../modal/process.js'
import { loadScript } from '../modal/script.js'
import type { OwnedSandbox } from '../sandboxes/owned.js'

export const callMs = lookupMs
export { sandboxGone } from '../modal/process.js'

/** A program of this folder, for `sh -c`. */
export const script = (name: string) => loadScript(import.meta.url, name)

/** Runs one of our own scripts in a sandbox to its end. @throws {AppError} SANDBOX_ENDED, MODAL_TIMEOUT. */
export async function shell (
  { sandbox }: OwnedSandbox, step: string, argv: string[], options: CommandOptions = {}
): Promise<CommandResult> {
  return await runCommand(sandbox, step, argv, options)
}
