import { setTimeout as sleep } from 'node:timers/promises'
import { AppError } from '../../errors.js'
import type { Log } from '../../lib/log.js'
import { callModal, lookupMs } from '../modal/call.js'
import { exitLocked } from '../modal/lock.js'
import { SandboxProcess } from '../modal/process.js'
import { loadScript } from '../modal/script.js'
import type { OwnedSandbox } from '../sandboxes/owned.js'
import { LogParser, type ParsedEvent } from './log-parser.js'
import { listRuns, logOf, recordLostEnd, stateOf } from './run-directory.js'

const followScript = loadScript(import.meta.url, 'follow.sh')
/** After so long a silence Modal is asked whether the sandbox still runs. */
export const silenceMs = 5000
/** The runner and follow.sh count on it. */
const heartbeatMs = 2000
/** How often in a row, and after how long, the log is opened again when nothing of it arrives. */
const attempts = 8
const firstPauseMs = 250
const longestPauseMs = 5000

export interface LogFollowerOptions {
  owned: OwnedSandbox
  runId: string
  format: 'stream-json' | 'text'
  secrets: readonly string[]
  /** Where to begin. */
  position: number
  /** The runner itself, whose output is the log from its first byte on. */
  runner?: SandboxProcess | undefined
  onEvents: (events: ParsedEvent[]) => void
  hasReaders: () => boolean
  log: Log
}

/** Why it ended: the log has ended, it was stopped, or the log cannot be read to its end. */
export interface FollowerEnd { reason: 'ended' | 'stopped' | 'sandbox' | 'stream', cause?: unknown }

/** Reads a run's log as it grows. When a stream breaks it goes on where it was; readers do not notice. */
export class LogFollower {
  readonly finished: Promise<FollowerEnd>
  /**
   * Settles with the first events, or when it has finished without any.
   * @throws {AppError} RUN_ACTIVE when the runner has given way to another run.
   */
  readonly begun: Promise<void>
  readonly #options: LogFollowerOptions
  #begin!: () => void
  #refuse!: (error: AppError) => void
  #position: number
  #process: SandboxProcess | undefined
  #heartbeat: Heartbeat | undefined
  #ended = false
  #stopped = false

  constructor (options: LogFollowerOptions) {
    this.#options = options
    this.#position = options.position
    this.begun = new Promise((resolve, reject) => {
      this.#begin = resolve
      this.#refuse = reject
    })
    this.begun.catch(() => {})
    this.finished = this.#follow(options.runner).finally(() => { this.#begin() })
  }

  /** Tells the sandbox at once whether there are readers. */
  heartbeat (): void {
    this.#heartbeat?.send()
  }

  stop (): void {
    this.#stopped = true
    this.#release()
  }

  async #follow (runner: SandboxProcess | undefined): Promise<FollowerEnd> {
    const { owned, log, runId } = this.#options
    let cause: unknown
    let process = runner
    for (let failed = 0, position = -1; failed < attempts; failed++) {
      if (this.#position > position) failed = 0
      position = this.#position
      if (failed > 0) await sleep(Math.min(longestPauseMs, firstPauseMs * 2 ** failed), undefined, { ref: false })
      try {
        process ??= await this.#open()
        const exitCode = await this.#read(process)
        if (this.#ended) return { reason: 'ended' }
        if (process === runner && exitCode === exitLocked && this.#position === 0) {
          this.#refuse(new AppError('RUN_ACTIVE', { details: { runId: null } }))
          return { reason: 'stopped' }
        }
        if (this.#stopped) return { reason: 'stopped' }
        await this.#recordEndIfLost()
      } catch (error) {
        cause = error
        if (this.#stopped) return { reason: 'stopped' }
        if (await this.#hasSandboxEnded(error)) return { reason: 'sandbox', cause }
        log.warn({ runId, sandboxId: owned.id, position, err: error }, 'reopening run log')
        if (error instanceof AppError && error.code === 'RUN_NOT_FOUND') break
      }
      process = undefined
    }
    return { reason: 'stream', cause }
  }

  async #open (): Promise<SandboxProcess> {
    const { owned, runId } = this.#options
    const command = ['sh', '-c', followScript, 'follow', stateOf(runId), logOf(owned, runId), String(this.#position)]
    return await SandboxProcess.start(owned.sandbox, command, { step: 'follow run', silenceMs })
  }

  /** @returns the exit code of a process that has ended before the log did. */
  async #read (process: SandboxProcess): Promise<number | undefined> {
    const { runId, format, secrets, hasReaders } = this.#options
    const parser = new LogParser({ run: runId, format, secrets, offset: this.#position })
    this.#process = process
    this.#heartbeat = new Heartbeat(hasReaders)
    // A process that has ended takes none; its end shows in its output.
    process.write(this.#heartbeat.lines()).catch(() => {})
    try {
      if (this.#stopped) return
      return await process.pipe((stream, { buffer, byteOffset, byteLength }) => {
        if (stream === 'stdout' && !this.#ended && !this.#stopped) {
          this.#take(parser, Buffer.from(buffer, byteOffset, byteLength))
        }
      })
    } catch (error) {
      if (!this.#ended && !this.#stopped) throw error
    } finally {
      this.#release()
    }
  }

  #take (parser: LogParser, chunk: Buffer) {
    const events = parser.push(chunk)
    this.#position = parser.position
    const end = events.findIndex(({ record }) => record?.record === 'ended')
    if (end !== -1) {
      this.#ended = true
      events.length = end + 1
      this.#release()
    }
    this.#options.onEvents(events)
    if (events.length > 0) this.#begin()
  }

  /** The process ends by itself when its standard input does. */
  #release () {
    this.#heartbeat?.stop()
    this.#process?.release()
  }

  /** The stream has ended before the log has: when the runner is gone, something else must record the end. */
  async #recordEndIfLost () {
    const { owned, runId } = this.#options
    const [found] = await listRuns(owned, { only: runId })
    if (found === undefined) throw new AppError('RUN_NOT_FOUND')
    if (!found.active) await recordLostEnd(owned, runId, 'runner')
  }

  /** The processes of a sandbox that ends go first, so its own end may be known a little later. */
  async #hasSandboxEnded (error: unknown): Promise<boolean> {
    if (error instanceof AppError && error.code === 'SANDBOX_ENDED') return true
    for (let attempt = 0; attempt < 3; attempt++) {
      const exitCode = await callModal('poll', lookupMs, () => this.#options.owned.sandbox.poll()).catch(() => null)
      if (exitCode !== null) return true
      await sleep(300, undefined, { ref: false })
    }
    return false
  }
}

/** A line on standard input every two seconds: `r` and a number with readers, `s` and a number without. */
class Heartbeat {
  readonly #hasReaders: () => boolean
  #line: string | undefined
  #count = 0
  #next = new AbortController()
  #stopped = false

  constructor (hasReaders: () => boolean) {
    this.#hasReaders = hasReaders
  }

  /** Sends a line at once. It tells what is true now: a reader may come and leave before it is on its way. */
  send (): void {
    this.#line ??= this.#compose()
    this.#next.abort()
  }

  /** Ends standard input. */
  stop (): void {
    this.#stopped = true
    this.#next.abort()
  }

  async * lines (): AsyncGenerator<Uint8Array> {
    while (!this.#stopped) {
      const line = this.#line ?? this.#compose()
      this.#line = undefined
      this.#next = new AbortController()
      yield Buffer.from(line)
      await sleep(heartbeatMs, undefined, { signal: this.#next.signal, ref: false }).catch(() => {})
    }
  }

  #compose (): string {
    return `${this.#hasReaders() ? 'r' : 's'}${this.#count++}\n`
  }
}
