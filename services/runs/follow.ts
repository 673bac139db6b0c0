import { setTimeout as sleep } from 'node:timers/promises'
import type { SandboxProcess } from '../modal/process.js'

/** After so long a silence the sandbox is asked for: it may be gone. */
export const silenceMs = 5000
/** The runner and the followers in the sandbox count on it. */
const beatMs = 2000

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
 * Reads a process that prints a run's log, to its end or until the signal, and keeps it alive meanwhile.
 * @throws {AppError} SANDBOX_ENDED; or the error of a stream that was lost.
 */
export async function follow (
  process: SandboxProcess, { take, hasReaders, onBeat, signal }: FollowOptions
): Promise<void> {
  const heartbeat = new Heartbeat(hasReaders)
  const leave = () => {
    heartbeat.stop()
    process.release()
  }
  onBeat(() => heartbeat.beat())
  signal.addEventListener('abort', leave, { once: true })
  // A process that has ended takes none; its end is told by its output.
  process.write(heartbeat.lines()).catch(() => {})
  try {
    if (signal.aborted) return
    await process.pipe((stream, { buffer, byteOffset, byteLength }) => {
      if (stream === 'stdout' && !signal.aborted) take(Buffer.from(buffer, byteOffset, byteLength))
    })
  } catch (error) {
    if (!signal.aborted) throw error
  } finally {
    signal.removeEventListener('abort', leave)
    leave()
  }
}

/** A line on standard input every two seconds: `r` and a number with readers, `s` and a number without. */
class Heartbeat {
  readonly #hasReaders: () => boolean
  #next = new AbortController()
  #stopped = false

  constructor (hasReaders: () => boolean) {
    this.#hasReaders = hasReaders
  }

  /** Sends the next line at once. */
  beat (): void {
    this.#next.abort()
  }

  /** Ends standard input. */
  stop (): void {
    this.#stopped = true
    this.#next.abort()
  }

  async * lines (): AsyncGenerator<Uint8Array> {
    for (let count = 0; !this.#stopped; count++) {
      this.#next = new AbortController()
      yield Buffer.from(`${this.#hasReaders() ? 'r' : 's'}${count}\n`)
      await sleep(beatMs, undefined, { signal: this.#next.signal, ref: false }).catch(() => {})
    }
  }
}
