import type { Sandbox } from 'modal'
import { AppError } from '../../errors.js'

/**
 * Makes the working directory in a new sandbox. Whether Modal makes a `workdir` that does not exist is not documented,
 * so it is never asked to; a mount point needs none of this.
 * @throws {AppError} INVALID_SANDBOX with what mkdir says.
 */
export async function makeWorkdir (sandbox: Sandbox, workdir: string): Promise<void> {
  const mkdir = await sandbox.exec(['mkdir', '-p', '--', workdir], { workdir: '/', stdout: 'ignore', timeoutMs: 60_000 })
  const [reason, exitCode] = await Promise.all([mkdir.stderr.readText(), mkdir.wait()])
  if (exitCode === 0) return
  throw new AppError('INVALID_SANDBOX', { message: `body.workdir can not be made: ${reason.trim().slice(0, 500)}` })
}
