import type { Sandbox, Secret } from 'modal'
import { AppError } from '../../errors.js'
import type { Repository } from '../../schemas/sandbox.js'
import { runCommand } from '../modal/process.js'
import { loadScript } from '../modal/script.js'

const script = loadScript(import.meta.url, 'clone.sh')
/** From a large repository over a slow line. */
export const cloneMs = 15 * 60_000

const failures: Record<number, { message: string, hint: string }> = {
  91: { message: 'body.git needs an image that has git.', hint: 'Add RUN apt-get update && apt-get install -y git to the image.' },
  92: {
    message: 'body.git: the working directory has other files, so nothing was cloned into it.',
    hint: 'Use another volume, or another part of this one (volume.subPath).'
  }
}

/**
 * Clones a repository into the working directory, unless it is there already. It may be repeated.
 * @param secret has GIT_TOKEN, and GIT_USERNAME where the host wants a certain one
 * @throws {AppError} CLONE_FAILED with git's own last words.
 */
export async function cloneRepository (
  sandbox: Sandbox, workdir: string, { url, branch = '', depth }: Repository, secret?: Secret
): Promise<void> {
  const command = ['sh', '-c', script, 'clone', workdir, url, branch, depth === undefined ? '' : String(depth)]
  const { exitCode, stderr } = await runCommand(sandbox, 'clone', command, {
    timeoutMs: cloneMs, ...(secret !== undefined && { secrets: [secret] })
  })
  if (exitCode === 0) return
  const reason = stderr.trim().split('\n').at(-1)?.slice(0, 300)
  throw new AppError('CLONE_FAILED', failures[exitCode] ?? (reason ? { message: `body.git: ${reason}` } : {}))
}
