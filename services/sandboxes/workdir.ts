import type { Sandbox } from 'modal'
import { AppError } from '../../errors.js'
import { runCommand } from '../modal/process.js'

/**
 * Makes the working directory in a new sandbox. Whether Modal makes a `workdir` that does not exist is not documented,
 * so it is never asked to; a mount point needs none of this.
 * @throws {AppError} INVALID_SANDBOX with what mkdir says.
 */
export async function makeWorkdir (sandbox: Sandbox, workdir: string): Promise<void> {
  const { exitCode, stderr } = await runCommand(sandbox, 'workdir', ['mkdir', '-p', '--', workdir], {
    timeoutMs: 60_000, meanings: { notFound: 'INVALID_SANDBOX', conflict: 'INVALID_SANDBOX' }
  })
  if (exitCode === 0) return
  throw new AppError('INVALID_SANDBOX', { message: `body.workdir cannot be made: ${stderr.trim().slice(0, 500)}` })
}
