import { setTimeout as sleep } from 'node:timers/promises'
import type { Sandbox } from 'modal'
import { AppError } from '../../errors.js'
import { endingSinceStart, type Ending } from '../modal/ending.js'
import { runCommand } from '../modal/process.js'

/** How often, and how far apart, a sandbox is asked whether it has ended when its first command has failed. */
const looks = 4
const betweenLooksMs = 300

const exitNotWritable = 77
const script = `mkdir -p -- "$1" || exit 1
[ -w "$1" ] || [ "$2" = read-only ] || { id -u; exit ${exitNotWritable}; }`

/**
 * Makes the working directory in a new sandbox, which also proves that the sandbox lives: a mount that fails ends it
 * after it was created. Whether Modal makes a `workdir` that does not exist is not documented, so it is never asked to.
 * An image may have a user who cannot write where the volume is mounted.
 * @throws {AppError} INVALID_SANDBOX with what mkdir says, or the user who may not write.
 */
export async function makeWorkdir (sandbox: Sandbox, workdir: string, isReadOnly: boolean): Promise<void> {
  const command = ['sh', '-c', script, 'workdir', workdir, isReadOnly ? 'read-only' : 'writable']
  const { exitCode, stdout, stderr } = await runCommand(sandbox, 'workdir', command, {
    timeoutMs: 60_000, meanings: { notFound: 'INVALID_SANDBOX', conflict: 'INVALID_SANDBOX' }
  }).catch(async (cause: unknown) => {
    throw await startFailure(cause, sandbox)
  })
  if (exitCode === 0) return
  const message = exitCode === exitNotWritable
    ? `The user of the image (id ${Number(stdout.toString('latin1', 0, 10))}) cannot write to ${workdir}.`
    : `body.workdir cannot be made: ${stderr.trim().slice(0, 500)}`
  const hint = 'Set workdir to a directory that the image\'s user may write, or use an image whose USER is root.'
  // A sandbox that ends takes its commands with it, which then have failed.
  throw await startFailure(new AppError('INVALID_SANDBOX', { message, hint }), sandbox)
}

/** Why the first command of a sandbox could not run. */
async function startFailure (cause: unknown, sandbox: Sandbox): Promise<unknown> {
  const ending = await endingSoon(sandbox)
  if (ending === null) return cause
  const how = ending.reason?.replaceAll('_', ' ') ?? `exit code ${ending.exitCode ?? 'unknown'}`
  const message = `The sandbox ended when it started (${how}). Check the entrypoint of its image, its volume and its bucket.`
  return new AppError('INVALID_SANDBOX', { message, cause, details: { ...ending } })
}

/** How a sandbox has ended, or is about to: its last command may be over a moment before. */
async function endingSoon (sandbox: Sandbox): Promise<Ending | null> {
  for (let look = 1; look < looks; look++) {
    const ending = await endingSinceStart(sandbox)
    if (ending !== null) return ending
    await sleep(betweenLooksMs)
  }
  return await endingSinceStart(sandbox)
}
