import { setTimeout as sleep } from 'node:timers/promises'
import type { ContainerProcess, Sandbox } from 'modal'
import { AppError } from '../../errors.js'
import { ExecOutput } from '../sandboxes/exec-output.js'
import { lookupMs } from '../sandboxes/owned.js'
import { call } from '../sandboxes/steps.js'
import type { Taker } from './output.js'

const pollMs = 5000
/** Modal can not be asked at the moment: that says nothing about the sandbox. */
const unknown = () => null

/**
 * Reads a process to its end. A daemon that holds the terminal open is not waited for. When a process says nothing, its
 * sandbox is asked for: it may be gone, which `wait()` never notices (modal 0.11.1).
 * @throws {AppError} SANDBOX_ENDED; or the error of a stream that was lost.
 */
export async function follow (process: ContainerProcess<Uint8Array>, sandbox: Sandbox, take: Taker): Promise<number> {
  const over = new AbortController()
  let silent = true
  const output = new ExecOutput(process, (_stream, { buffer, byteOffset, byteLength }) => {
    silent = false
    take(Buffer.from(buffer, byteOffset, byteLength))
  })
  try {
    const exitCode = await Promise.race([
      process._wait(over.signal), output.drained.then(() => new Promise<never>(() => {})), watch()
    ])
    await output.finish()
    return exitCode
  } finally {
    over.abort()
    output.cancel()
    take(undefined)
  }

  async function watch (): Promise<never> {
    for (;;) {
      await sleep(pollMs, undefined, { signal: over.signal, ref: false })
      const exitCode = silent ? await call('poll', lookupMs, () => sandbox.poll()).catch(unknown) : null
      if (exitCode !== null) throw new AppError('SANDBOX_ENDED', { details: { exitCode } })
      silent = true
    }
  }
}
