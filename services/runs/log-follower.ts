import { setTimeout as sleep } from 'node:timers/promises'
import { AppError } from '../../errors.js'
import type { Log } from '../../lib/log.js'
import { callModal, lookupMs } from '../modal/call.js'
import { SandboxProcess } from '../modal/process.js'
import { loadScript } from '../modal/script.js'
import type { OwnedSandbox } from '../sandboxes/owned.js'
import { LogParser, type LastRecord, type ParsedEvent } from './log-parser.js'
import { exitNoLog, logOf, readLog, startRefusal, stateOf } from './run-directory.js'

const followScript = loadScript(import.meta.url, 'follow.sh')
/** After so long a silence Modal is asked whether the sandbox still runs. */
export const silenceMs = 5000
/** The runner and follow.sh count on it. */
const heartbeatMs = 2000
/** How often in a row, and after how long, the log is opened again when nothing of it arrives. */
const attempts = 8
const firstPauseMs = 250
const longestPauseMs = 5000
/** When the log's last line says that the run has ended, but its processes do not: until the next look at them. */
const firstLookMs = 100
const longestLookMs = 5000
const pageBytes = 4 * 1024 * 1024
/** The last line of standard error is what counts. */
const errorCharacters = 2000

/** What becomes a run's runner: it exits without output when it could not. */
export interface Runner {
  process: SandboxProcess
  /** What it reads in front of heartbeats. */
  input: Uint8Array
}

export interface LogFollowerOptions {
  owned: OwnedSandbox
  runId: string
  format: 'stream-json' | 'text'
  secrets: readonly string[]
  /** Where to begin. */
  position: number
  /** The runner itself, whose output is the log from its first byte on. */
  runner?: Runner | undefined
  /** Follows the log from that position on already, see {@link openLog}. */
  opened?: Promise<SandboxProcess> | undefined
  /**
   * Looks whether the run has ended.
   * @param known whether Modal says so. @param last where the log says that it ends.
   * @returns the size of its log; undefined when it goes on.
   */
  settle: (known: boolean, last: number | undefined) => Promise<number | undefined>
  onEvents: (events: ParsedEvent[]) => void
  hasReaders: () => boolean
  log: Log
}

/** Why it ended: the log has ended, it was stopped, or the log cannot be read to its end. */
export interface FollowerEnd { reason: 'ended' | 'stopped' | 'sandbox' | 'stream', cause?: unknown }

/**
 * Reads a run's log as it grows. When a stream breaks it goes on where it was; readers do not notice.
 *
 * The log has ended when the run has. That the log says so proves nothing, as anything in the sandbox can write to it:
 * either Modal says that the runner, which this replica has started, has exited, or a look at the sandbox's processes
 * says that nothing of the run is alive.
 */
export class LogFollower {
  readonly finished: Promise<FollowerEnd>
  /**
   * Settles with the first events, or when it has finished without any.
   * @throws {AppError} RUN_ACTIVE, RUN_NOT_ENDED, NO_CLAUDE, CLAUDE_FAILED, SANDBOX_ENDED when there is no run, as
   * what was to become its runner has refused to, or was lost.
   */
  readonly begun: Promise<void>
  readonly #options: LogFollowerOptions
  #begin!: () => void
  #refuse!: (error: AppError) => void
  #position: number
  #opened: Promise<SandboxProcess> | undefined
  /** What the log says last, if that is its end. */
  #last: LastRecord | undefined
  /** The processes that are read from, with their heartbeats. */
  readonly #reading = new Map<SandboxProcess, Heartbeat>()
  /** What is on the standard error of what is read from, as far as it is worth telling. */
  #errors = ''
  /** The runner's exit code, while Modal can be asked for it. */
  #exit: Promise<number> | undefined
  /** Whether the runner's output is no longer a copy of the log. */
  #cut = false
  #looking = false
  /** Whether all of the log has been passed on, with the record of its end. */
  #whole = false
  /** Whether nothing of the run is alive. */
  #proven = false
  #stopped = false

  constructor (options: LogFollowerOptions) {
    this.#options = options
    this.#position = options.position
    this.#opened = options.opened
    this.begun = new Promise((resolve, reject) => {
      this.#begin = resolve
      this.#refuse = reject
    })
    this.begun.catch(() => {})
    this.finished = this.#follow(options.runner).then((end) => this.#unlessNeverBegun(end)).finally(() => {
      this.#release()
      this.#begin()
    })
  }

  /** Tells the sandbox at once whether there are readers. */
  heartbeat (): void {
    for (const heartbeat of this.#reading.values()) heartbeat.send()
  }

  stop (): void {
    this.#stopped = true
    this.#release()
  }

  /** A look at the sandbox has shown that nothing of the run is alive: the rest of the log is read, and it is over. */
  prove (): void {
    this.#proven = true
    this.#release()
  }

  /** A run whose log has not begun while its runner was read from is no run. */
  #unlessNeverBegun (end: FollowerEnd): FollowerEnd {
    const { runner } = this.#options
    if (runner === undefined || this.#position > 0 || end.reason === 'stopped') return end
    const { reason, cause } = end
    const hasSaid = cause instanceof AppError && cause.code === 'SANDBOX_ENDED'
    const code = reason === 'sandbox' ? 'SANDBOX_ENDED' : 'CLAUDE_FAILED'
    this.#refuse(hasSaid ? cause : new AppError(code, { step: 'start Claude', cause }))
    return { reason: 'stopped' }
  }

  async #follow (runner: Runner | undefined): Promise<FollowerEnd> {
    const { owned, log, runId } = this.#options
    let cause: unknown
    let unread = runner
    for (let failed = 0, position = -1; failed < attempts; failed++) {
      if (this.#position > position) failed = 0
      position = this.#position
      if (failed > 0) await sleep(Math.min(longestPauseMs, firstPauseMs * 2 ** failed), undefined, { ref: false })
      try {
        const begun = unread
        unread = undefined
        if (begun !== undefined) await this.#readRunner(begun)
        if (!this.#proven && !this.#stopped) await this.#readLog()
        if (this.#stopped) return { reason: 'stopped' }
        if (await this.#settle()) return { reason: 'ended' }
      } catch (error) {
        cause = error
        if (this.#stopped) return { reason: 'stopped' }
        if (await this.#hasSandboxEnded(error)) return { reason: 'sandbox', cause }
        log.warn({ runId, sandboxId: owned.id, position, err: error }, 'reopening run log')
        // Where the runner was lost it may only be about to begin the log.
        const mayBegin = runner !== undefined && this.#position === 0 && !this.#proven
        if (error instanceof AppError && error.code === 'RUN_NOT_FOUND' && !mayBegin) break
      }
    }
    return { reason: 'stream', cause }
  }

  /** Reads the runner's output until the runner exits, or its output is no longer the log. */
  async #readRunner ({ process, input }: Runner) {
    let cut!: () => void
    const isCut = new Promise<void>((resolve) => { cut = resolve })
    const exit = this.#read(process, input, (parser, chunk) => {
      if (this.#cut) return
      const events = parser.push(chunk)
      const at = events.findIndex(({ record }) => record?.record === 'cut')
      if (at === -1) return this.#take(parser, events)
      this.#position = events[at - 1]?.id ?? this.#position
      this.#cut = true
      this.#pass(events.slice(0, at))
      cut()
    })
    this.#exit = exit.then(async (code) => code ?? await new Promise<never>(() => {}), async (error) => {
      this.#exit = undefined
      throw error
    })
    this.#exit.catch(() => {})
    const code = await Promise.race([exit, isCut])
    if (this.#cut || this.#stopped || code === undefined) return
    this.#proven = true
    const refusal = this.#position === 0 ? startRefusal(code, this.#errors) : undefined
    if (refusal !== undefined) {
      this.#refuse(refusal)
      this.#stopped = true
      return
    }
    const { start, record: { at, exitCode } = {} } = this.#last ?? {}
    if (at === undefined || at !== start || code !== (exitCode ?? 255)) return
    // Modal's word, and the runner's own record of it, behind all that the log has.
    this.#pass([this.#last!])
    this.#whole = true
  }

  /** Reads the log's file until it cannot be read any more, or the run has ended. */
  async #readLog () {
    const { owned, runId } = this.#options
    const opened = this.#opened ?? openLog(owned, runId, this.#position)
    this.#opened = undefined
    const process = await opened
    const read = this.#read(process, undefined, (parser, chunk) => {
      this.#take(parser, parser.push(chunk))
      if (this.#last !== undefined && this.#exit === undefined) this.#look().catch(() => {})
    })
    read.catch(() => {})
    const exit = this.#exit?.then(() => { this.#proven = true })
    const code = await Promise.race(exit === undefined ? [read] : [read, exit])
    process.release()
    if (code === exitNoLog) throw new AppError('RUN_NOT_FOUND')
  }

  /**
   * @param input what the process reads in front of heartbeats.
   * @returns the exit code; undefined when it was released before.
   */
  async #read (
    process: SandboxProcess, input: Uint8Array | undefined, onChunk: (parser: LogParser, chunk: Buffer) => void
  ): Promise<number | undefined> {
    const { runId, format, secrets, hasReaders } = this.#options
    const parser = new LogParser({ run: runId, format, secrets, offset: this.#position })
    const heartbeat = new Heartbeat(hasReaders)
    this.#last = undefined
    this.#reading.set(process, heartbeat)
    // A process that has ended takes none; its end shows in its output.
    process.write(heartbeat.lines(input)).catch(() => {})
    this.#errors = ''
    try {
      if (this.#stopped || this.#proven) return
      return await process.pipe((stream, { buffer, byteOffset, byteLength }) => {
        const chunk = Buffer.from(buffer, byteOffset, byteLength)
        if (stream === 'stderr') this.#errors = (this.#errors + chunk.toString()).slice(-errorCharacters)
        else if (!this.#stopped && !this.#proven) onChunk(parser, chunk)
      })
    } catch (error) {
      if (!this.#stopped && !this.#proven) throw error
    } finally {
      heartbeat.stop()
      process.release()
      this.#reading.delete(process)
    }
  }

  #take (parser: LogParser, events: ParsedEvent[]) {
    this.#position = parser.position
    this.#last = parser.last
    this.#pass(events)
  }

  #pass (events: ParsedEvent[]) {
    if (events.length === 0) return
    this.#options.onEvents(events)
    this.#begin()
  }

  /** Looks at the run's processes for as long as the log says that it has ended, and nothing follows. */
  async #look () {
    if (this.#looking) return
    this.#looking = true
    for (let pauseMs = firstLookMs; this.#last !== undefined && !this.#stopped && !this.#proven;) {
      if (await this.#hasEnded(this.#last.id)) break
      await sleep(pauseMs, undefined, { ref: false })
      pauseMs = Math.min(2 * pauseMs, longestLookMs)
    }
    this.#looking = false
  }

  async #hasEnded (last: number): Promise<boolean> {
    const { owned, runId, log, settle } = this.#options
    try {
      const hasEnded = await settle(false, last) !== undefined
      if (hasEnded) this.prove()
      return hasEnded
    } catch (err) {
      log.warn({ runId, sandboxId: owned.id, err }, 'run not looked at')
      if (!(err instanceof AppError) || err.code !== 'RUN_NOT_FOUND') return false
      // What is read from has no name any more, and will not end by itself.
      this.#release()
      return true
    }
  }

  /** When the run has ended, reads the rest of its log. @returns whether it has. @throws {AppError} without an end. */
  async #settle (): Promise<boolean> {
    if (this.#whole) return true
    const { owned, runId, format, secrets, settle } = this.#options
    const size = await settle(this.#proven, this.#last?.id)
    if (size === undefined) return false
    this.#proven = true
    const parser = new LogParser({ run: runId, format, secrets, offset: this.#position })
    for (let at = this.#position; at < size;) {
      const bytes = await readLog(owned, runId, at, Math.min(size - at, pageBytes))
      if (bytes.length === 0) break
      at += bytes.length
      this.#take(parser, parser.push(bytes))
    }
    if (this.#last === undefined) throw new AppError('RUN_NOT_FOUND', { message: 'The log of the run has no end.' })
    this.#pass([this.#last])
    return true
  }

  /** The processes end by themselves when their standard input does. */
  #release () {
    if (this.#opened !== undefined) closeLog(this.#opened)
    this.#opened = undefined
    for (const [process, heartbeat] of this.#reading) {
      heartbeat.stop()
      process.release()
    }
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

/** Starts what follows a run's log from a position on. */
export async function openLog (owned: OwnedSandbox, runId: string, position: number): Promise<SandboxProcess> {
  const command = ['sh', '-c', followScript, 'follow', stateOf(runId), logOf(owned, runId), String(position)]
  const process = await SandboxProcess.start(owned.sandbox, command, { step: 'follow run', silenceMs })
  process.stdout.open()
  return process
}

/** Ends what was opened for nobody. */
export function closeLog (opened: Promise<SandboxProcess>): void {
  opened.then(async (process) => {
    await process.write('')
    process.release()
  }).catch(() => {})
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

  /** @param before what comes first. */
  async * lines (before?: Uint8Array): AsyncGenerator<Uint8Array> {
    if (before !== undefined) yield before
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
