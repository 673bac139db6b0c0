import { setTimeout as sleep } from 'node:timers/promises'
import type { ContainerProcess, Sandbox } from 'modal'
import { AppError } from '../../errors.js'
import { ExecOutput } from '../sandboxes/exec-output.js'
import { lookupMs } from '../sandboxes/owned.js'
import { call } from '../sandboxes/steps.js'

const pollMs = 5000
/** The runner and the followers in the sandbox count on it. */
const beatMs = 2000
/** Modal can not be asked at the moment: that says nothing about the sandbox. */
const unknown = () => null

export interface FollowOptions {
  take: (chunk: Buffer) => void
  /** Whether there are readers: it is told to the sandbox every two seconds, and at once when `beat` is called. */
  hasReaders: () => boolean
  /** Receives what tells it at once. */
  onBeat: (beat: () => void) => void
  /** Stops following; the process ends by itself then. */
  signal: AbortSignal
}

/**
 * Reads a process that prints a run's log, to its end or until the signal, and keeps it alive meanwhile. When it says
 * nothing, its sandbox is asked for: it may be gone, which `wait()` never notices (modal 0.11.1).
 * @throws {AppError} SANDBOX_ENDED; or the error of a stream that was lost.
 */
export async function follow (
  process: ContainerProcess<Uint8Array>, sandbox: Sandbox, { take, hasReaders, onBeat, signal }: FollowOptions
): Promise<void> {
  const over = new AbortController()
  const left = new Promise<void>((resolve) => { over.signal.addEventListener('abort', () => resolve(), { once: true }) })
  const leave = () => { over.abort() }
  signal.addEventListener('abort', leave, { once: true })
  if (signal.aborted) leave()

  let silent = true
  const output = new ExecOutput(process, (stream, { buffer, byteOffset, byteLength }) => {
    silent = false
    if (stream === 'stdout' && !over.signal.aborted) take(Buffer.from(buffer, byteOffset, byteLength))
  })
  const pulse = startPulse(process, hasReaders)
  onBeat(pulse.beat)
  try {
    const exited = process._wait(over.signal).then(() => output.finish())
    exited.catch(() => {})
    const lost = output.drained.then(() => new Promise<never>(() => {}))
    await Promise.race([exited, lost, left, watch()])
  } finally {
    over.abort()
    signal.removeEventListener('abort', leave)
    pulse.stop()
    output.cancel()
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

/** A line on standard input every two seconds: `r` and a number with readers, `s` and a number without. */
function startPulse (process: ContainerProcess<Uint8Array>, hasReaders: () => boolean) {
  const writer = process.stdin.getWriter()
  let count = 0
  let busy = false
  const beat = () => {
    if (busy) return
    busy = true
    // A process that has ended takes none; its end is told by its output.
    writer.write(Buffer.from(`${hasReaders() ? 'r' : 's'}${count++}\n`)).catch(() => {}).finally(() => { busy = false })
  }
  const timer = setInterval(beat, beatMs).unref()
  beat()
  return {
    beat,
    stop () {
      clearInterval(timer)
      writer.close().catch(() => {})
    }
  }
}
