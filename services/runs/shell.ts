import { readFileSync } from 'node:fs'
import { AppError } from '../../errors.js'
import { ExecOutput } from '../sandboxes/exec-output.js'
import type { OwnedSandbox } from '../sandboxes/owned.js'
import { call } from '../sandboxes/steps.js'

export const callMs = 30_000
export const sandboxGone = { conflict: 'SANDBOX_ENDED', notFound: 'SANDBOX_ENDED' } as const
const complaintBytes = 2000

/** A program of this folder, for `sh -c`. */
export const script = (name: string) => readFileSync(new URL(name, import.meta.url), 'utf8')

export interface ShellResult { exitCode: number, stdout: Buffer, stderr: string }

/**
 * Runs one of our own scripts in a sandbox to its end.
 * @param limit bytes of output that are taken; a script that says more is not heard to its end.
 * @throws {AppError} SANDBOX_ENDED, MODAL_TIMEOUT; MODAL_ERROR when it says more than it may.
 */
export async function shell (
  { sandbox }: OwnedSandbox, step: string, argv: string[], { stdin = '', limit = 65_536 } = {}
): Promise<ShellResult> {
  return await call(step, callMs, async () => {
    const process = await sandbox.exec(argv, { mode: 'binary', workdir: '/', timeoutMs: callMs })
    const kept = { stdout: [] as Buffer[], stderr: [] as Buffer[] }
    let bytes = 0
    const output = new ExecOutput(process, (stream, chunk) => {
      bytes += chunk.length
      if (bytes > limit + complaintBytes) throw new AppError('MODAL_ERROR', { message: 'A file in the sandbox is not what it should be.' })
      kept[stream].push(Buffer.from(chunk))
    })
    const fed = feed(process.stdin, stdin)
    const over = new AbortController()
    // `wait()` retries for ever when the sandbox has gone; its inner form can be told to stop (modal 0.11.1).
    const late = setTimeout(() => { over.abort() }, callMs)
    try {
      const [exitCode] = await Promise.all([process._wait(over.signal), output.drained])
      // A script that has refused its work need not have read what it was for.
      if (exitCode === 0) await fed
      return { exitCode, stdout: Buffer.concat(kept.stdout), stderr: Buffer.concat(kept.stderr).toString('utf8', 0, complaintBytes) }
    } finally {
      clearTimeout(late)
      over.abort()
      output.cancel()
    }
  }, sandboxGone)
}

function feed (stream: WritableStream<Uint8Array>, text: string): Promise<void> {
  const writer = stream.getWriter()
  const written = text === '' ? Promise.resolve() : writer.write(Buffer.from(text))
  const fed = written.then(() => { writer.close().catch(() => {}) })
  fed.catch(() => {})
  return fed
}
