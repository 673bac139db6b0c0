import { AppError } from '../../errors.js'
import { withDeadline } from '../modal/call.js'
import { execMarker, SandboxProcess } from '../modal/process.js'
import type { OwnedSandbox } from '../sandboxes/owned.js'
import type { Stopping } from '../sandboxes/terminate.js'
import { endAllCommand } from './run-directory.js'

/** How long what is not a run's gets to stop. */
const stopMs = 2000
/** Several runs cannot be active, but several may have left something. */
const endMs = 60_000

/**
 * Ends all runs in a sandbox, whoever has started them, and then asks everything else to stop: with one command, as
 * each would be two round trips.
 */
export function endAll (owned: OwnedSandbox): Stopping {
  let tell!: (left: string) => void
  const told = new Promise<string>((resolve) => { tell = resolve })
  const all = withDeadline(endMs, async () => {
    const process = await SandboxProcess.start(owned.sandbox, endAllCommand(owned, execMarker, stopMs), {
      step: 'end runs', timeoutMs: endMs
    })
    process.write('').catch(() => {})
    let output = ''
    await process.pipe((stream, bytes) => {
      if (stream === 'stdout') output += Buffer.from(bytes).toString('latin1')
      if (output.includes('\n')) tell(output)
    })
    tell(output)
  })
  const runs = Promise.race([told, all.then(async () => await told)]).then(checkLeft)
  return { runs, all }
}

/** @throws {AppError} RUN_NOT_ENDED */
function checkLeft (output: string) {
  if (output === '0\n') return
  const left = Number.parseInt(output)
  if (Number.isNaN(left)) throw new AppError('RUN_NOT_ENDED', { step: 'end runs' })
  throw new AppError('RUN_NOT_ENDED', {
    step: 'end runs', message: `${left} processes of runs could not be ended.`, details: { left }
  })
}
