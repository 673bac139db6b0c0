import { AppError, wrap } from '../../errors.js'
import type { Log } from '../../lib/log.js'
import type { Completion, PendingPermission, RunView } from '../../schemas/run.js'
import { withDeadline } from '../modal/call.js'
import { expiryOf } from '../modal/lifetime.js'
import type { Charges } from '../gateway/exchange.js'
import type { SandboxProcess } from '../modal/process.js'
import type { OwnedSandbox } from '../sandboxes/owned.js'
import { EventBuffer, type RunEvent } from './event-buffer.js'
import { readFinalState, readPage, type RunSnapshot } from './inspect.js'
import { closeLog, LogFollower, type FollowerEnd, type Runner } from './log-follower.js'
import type { ParsedEvent } from './log-parser.js'
import { listPermissions } from './permissions.js'
import type { StartedRecord } from './records.js'
import { endRun, settleRun } from './run-directory.js'
import { RunState, type Ending } from './run-state.js'

/** How long a run that another replica has started is still followed after its last reader. */
const lingerMs = 5000
const partBytes = 256 * 1024
/** How long the beginning of a run may take: what is left of an earlier one may have to be ended first. */
const beginMs = 60_000
/** How long after its time-out a run that has not ended itself is ended from outside, and how often that is tried. */
const overdueMs = 6000
const againMs = 10_000

export interface RunOptions {
  owned: OwnedSandbox
  started: StartedRecord
  /** Values that must not be in any event. */
  secrets: readonly string[]
  log: Log
  /** Called once, when a run that this replica has started is over: what it has cost, if the model gateway knows. */
  charge: () => Charges | undefined
  /** Whether another sandbox on the same volume is running. */
  isRunning: (sandboxId: string) => Promise<boolean>
  /** Called once, when a run that this replica has started is over. */
  onCompleted: () => void
  /** Called once, when a run that another replica has started is seen to be over in its sandbox. */
  onSeenCompleted: () => void
}

/**
 * One run of Claude as this replica knows it, from following its log or from a snapshot, watched by any number of
 * readers. The truth is its log in the sandbox.
 */
export class Run {
  readonly id: string
  readonly owned: OwnedSandbox
  readonly #options: RunOptions
  #state = new RunState()
  /** The latest events; a new one whenever the log is followed anew. */
  #buffer = new EventBuffer(0)
  #follower: LogFollower | undefined
  /** What follows the log from a position on, for the reader that is about to come. */
  #opened: { position: number, process: Promise<SandboxProcess> } | undefined
  #startedHere = false
  #completion: Completion | undefined
  /** Bytes that the log has at least. */
  #size = 0
  /** The last event of the log, whose data is not known before all of it is read. */
  #last: ParsedEvent | undefined
  /** Where the log ends with the record of its end. */
  #end: number | undefined
  /** What Claude waited for when the sandbox was last asked. */
  #listedPermissions: PendingPermission[] = []
  #readers = 0
  #lingering: NodeJS.Timeout | undefined
  #deadline: NodeJS.Timeout | undefined

  constructor (options: RunOptions) {
    this.#options = options
    this.id = options.started.run
    this.owned = options.owned
    this.#state.started = options.started
  }

  get completion (): Completion | undefined {
    return this.#completion
  }

  /** Whether what is known here is the latest. */
  get isCurrent (): boolean {
    return this.#follower !== undefined || this.#completion !== undefined
  }

  /** Whether this replica has started the run, and follows it to its end, readers or not. */
  get startedHere (): boolean {
    return this.#startedHere
  }

  /** Whether it goes on without readers. */
  get continues (): boolean {
    return this.#options.started.onDisconnect === 'continue'
  }

  /** When the sandbox ends, and from when on readers are told. */
  get expiry (): { expiresAt: string, warnAt: number } {
    return { expiresAt: this.owned.expiresAt, warnAt: expiryOf(this.owned).warnAt }
  }

  /** Approximate memory that it takes. */
  get bytes (): number {
    return this.#buffer.bytes
  }

  view (): RunView {
    const { startedAt, prompt, sandboxId, asks = false } = this.#options.started
    const completion = this.#completion
    return {
      runId: this.id,
      sandboxId,
      sessionId: this.#state.sessionId,
      status: completion === undefined ? 'running' : 'completed',
      startedAt,
      prompt,
      interactive: asks,
      pendingPermissions: this.#pendingPermissions,
      ...(completion !== undefined && { completion })
    }
  }

  get #pendingPermissions (): PendingPermission[] {
    if (this.#completion !== undefined) return []
    return this.#startedHere ? this.#state.pendingPermissions : this.#listedPermissions
  }

  /** Asks the sandbox what Claude waits for, unless this replica knows it from the log as it grows. */
  async refreshPermissions (): Promise<void> {
    const { owned, started: { asks, sandboxId }, secrets } = this.#options
    if (this.#startedHere || this.#completion !== undefined || !asks || sandboxId !== owned.id) return
    this.#listedPermissions = await listPermissions(owned, this.id, secrets)
  }

  /**
   * Follows a run that this replica has just started; settles when there is something of its log.
   * @throws {AppError} as {@link LogFollower.begun}, MODAL_TIMEOUT; then it is not followed.
   */
  async followRunner (runner: Runner): Promise<void> {
    this.#startedHere = true
    this.#limit(this.#options.started.timeoutMs + overdueMs)
    const { begun } = this.#follow(0, runner)
    try {
      await withDeadline(beginMs, () => begun)
    } catch (error) {
      this.stopFollowing()
      throw error
    }
  }

  /** Nothing of it is alive, as a look at the sandbox has shown: it is over when the rest of its log has been read. */
  prove (): void {
    this.#follower?.prove()
  }

  /** Takes over what the sandbox says, unless something newer is known here. */
  applySnapshot ({ state, size, ending }: RunSnapshot): void {
    if (this.isCurrent) return
    this.#state = state
    this.#size = size
    if (ending === undefined) return
    if ('record' in ending) this.#close(size, ending)
    else this.markLost('stream')
  }

  /** The log cannot be read to an end any more. Does nothing while it is followed here. */
  markLost (lost: 'sandbox' | 'stream'): void {
    if (this.isCurrent) return
    this.#close(this.#size, { stop: '', exitCode: null, lost })
    this.#buffer.append([{ id: this.#size + 1, event: 'run.completed', json: JSON.stringify(this.#completion) }])
  }

  /** The log is being followed from a position on, for a reader that is about to come; unless it is already. */
  takeOpened (position: number, process: Promise<SandboxProcess>): void {
    if (this.isCurrent) return closeLog(process)
    if (this.#opened !== undefined) closeLog(this.#opened.process)
    this.#opened = { position, process }
  }

  /** The run itself goes on. */
  stopFollowing (): void {
    if (this.#opened !== undefined) closeLog(this.#opened.process)
    this.#opened = undefined
    clearTimeout(this.#lingering)
    clearTimeout(this.#deadline)
    this.#follower?.stop()
  }

  /** Adds a reader; call the returned function when it leaves. Without readers the run ends after a while (4.6). */
  addReader (): () => void {
    this.#readers++
    clearTimeout(this.#lingering)
    this.#follower?.heartbeat()
    return () => {
      // There was a reader until now.
      this.#follower?.heartbeat()
      this.#readers--
      if (this.#readers > 0 || this.#startedHere) return
      this.#lingering = setTimeout(() => { this.stopFollowing() }, lingerMs).unref()
    }
  }

  /** Everything after a position, in batches, then what comes, until the run or the reader ends. */
  async * read (after: number, signal: AbortSignal): AsyncGenerator<RunEvent[]> {
    const wake = () => { this.#buffer.wake() }
    signal.addEventListener('abort', wake, { once: true })
    try {
      for (let position = after; !signal.aborted;) {
        if (!this.isCurrent) this.#follow(position <= this.#size ? position : 0)
        const buffer = this.#buffer
        const batch = position < buffer.start ? await this.#readMissed(position, buffer.start) : buffer.take(position)
        if (batch.length > 0) {
          position = batch.at(-1)!.id
          yield * inParts(batch)
          if (batch.at(-1)!.event === 'run.completed') return
        } else if (buffer.ended) {
          return
        } else {
          await buffer.change
        }
      }
    } finally {
      signal.removeEventListener('abort', wake)
    }
  }

  /** The next events after a position, without waiting for any; asking for them counts as reading. */
  async page (after: number): Promise<{ events: RunEvent[], done: boolean }> {
    const buffer = this.#buffer
    if (this.isCurrent && after >= buffer.start) {
      this.addReader()()
      const events = buffer.take(after)
      return { events, done: buffer.ended && buffer.take(events.at(-1)?.id ?? after).length === 0 }
    }
    const events = await this.#readPage(after)
    return { events, done: events.at(-1)?.event === 'run.completed' }
  }

  /** Events that are no longer in the buffer, or a gap where the log cannot be read. */
  async #readMissed (position: number, until: number): Promise<RunEvent[]> {
    const gap = [{ id: until, event: 'gap', json: JSON.stringify({ from: position, to: until }) }]
    try {
      const events = await this.#readPage(position)
      const missed = events.filter(({ id }) => id <= until)
      return missed.length > 0 ? missed : gap
    } catch (error) {
      if (error instanceof AppError && ['RUN_NOT_FOUND', 'SANDBOX_ENDED'].includes(error.code)) return gap
      throw error
    }
  }

  /** Reads from the log itself, and learns the run's end when it comes to it. */
  async #readPage (position: number): Promise<ParsedEvent[]> {
    const { owned, started, secrets } = this.#options
    const options = { run: started.run, format: started.format, secrets, offset: position, end: this.#end }
    const { events, last } = await readPage(owned, options, this.#completion === undefined)
    if (last === undefined) return events
    if (this.#completion === undefined) {
      // That the log says so proves nothing; with something behind it this was not its end.
      if (this.isCurrent || await this.#settle(false, last.id) !== last.id) return events
      this.#state.apply(last)
      await this.#findResult()
      this.#close(last.id, this.#state.ended!)
    }
    return [...events, { ...last, json: JSON.stringify(this.#completion) }]
  }

  #follow (position: number, runner?: Runner): LogFollower {
    const { owned, started, secrets, log } = this.#options
    this.#buffer = new EventBuffer(position)
    const opened = this.#opened
    this.#opened = undefined
    const isThere = opened?.position === position
    if (opened !== undefined && !isThere) closeLog(opened.process)
    const follower = new LogFollower({
      owned,
      runId: started.run,
      format: started.format,
      secrets,
      position,
      runner,
      opened: isThere ? opened.process : undefined,
      log,
      hasReaders: () => this.#readers > 0,
      settle: async (known, last) => await this.#settle(known, last),
      onEvents: (events) => { this.#append(events) }
    })
    this.#follower = follower
    follower.finished.then(async (end) => { await this.#onFollowerEnd(end) }).catch((error: unknown) => {
      log.error({ ...this.#ids, err: error }, 'run could not be completed')
    })
    return follower
  }

  /** See LogFollowerOptions. Of a run in another sandbox on the volume there are no processes here. */
  async #settle (known: boolean, last: number | undefined): Promise<number | undefined> {
    const { owned, started, isRunning } = this.#options
    if (started.sandboxId === owned.id) return await settleRun(owned, started.run, known ? 'ended' : undefined)
    return await isRunning(started.sandboxId) ? last : await settleRun(owned, started.run, 'sandbox')
  }

  #append (events: ParsedEvent[]) {
    for (const event of events) this.#state.apply(event)
    const last = events.at(-1)
    if (last?.event === 'run.completed') this.#last = last
    this.#buffer.append(last === this.#last ? events.slice(0, -1) : events)
  }

  async #onFollowerEnd ({ reason, cause }: FollowerEnd) {
    if (reason === 'stopped') {
      this.#size = Math.max(this.#size, this.#buffer.lastId)
      this.#follower = undefined
      this.#buffer.wake()
      return
    }
    if (reason === 'ended') {
      await this.#findResult()
      this.#end = this.#last!.id
      const completion = this.#complete(this.#state.ended!)
      this.#buffer.append([{ id: this.#last!.id, event: 'run.completed', json: JSON.stringify(completion) }])
    } else {
      await this.#completeLost(reason, cause ?? new Error('its log ends too early'))
    }
    this.#buffer.end()
    this.#follower = undefined
  }

  /**
   * The runner keeps the run's limits, but what runs in the sandbox can kill or stop it. From here a run can always be
   * ended.
   */
  #limit (afterMs: number) {
    const { owned, log } = this.#options
    this.#deadline = setTimeout(async () => {
      log.warn(this.#ids, 'ending overdue run')
      try {
        await endRun(owned, this.id, 'timeout')
        this.prove()
      } catch (err) {
        if (this.#completion !== undefined) return
        log.error({ ...this.#ids, err }, 'overdue run not ended')
        this.#limit(againMs)
      }
    }, afterMs).unref()
  }

  async #completeLost (lost: 'sandbox' | 'stream', cause: unknown) {
    const { owned, started, log } = this.#options
    const failure = wrap(cause, 'run', 'RUN_FAILED')
    const { code, message, hint, statusCode } = failure
    log.error({ ...this.#ids, err: failure }, 'run lost')
    // It could not be watched any more.
    if (lost === 'stream') {
      await endRun(owned, started.run, 'cancelled').catch((error: unknown) => {
        log.error({ ...this.#ids, err: error }, 'lost run could not be stopped')
      })
    }
    const completion = this.#complete({ stop: '', exitCode: null, lost })
    // These two are in no log: they come after its last byte.
    const last = this.#buffer.lastId
    this.#buffer.append([
      { id: last + 1, event: 'error', json: JSON.stringify({ statusCode, code, message, hint }) },
      { id: last + 2, event: 'run.completed', json: JSON.stringify(completion) }
    ])
  }

  /** When the log was followed from the middle on, the result may have been missed. */
  async #findResult () {
    if (this.#state.hasResult || this.#buffer.complete) return
    const { owned, started } = this.#options
    this.#state = await readFinalState(owned, started, this.#state)
  }

  #close (size: number, ending: Ending) {
    if ('record' in ending) this.#end = size
    this.#buffer = new EventBuffer(size)
    this.#complete(ending)
    this.#buffer.end()
  }

  #complete (ending: Ending): Completion {
    if (this.#completion !== undefined) return this.#completion
    clearTimeout(this.#deadline)
    this.#completion = this.#state.completion(ending)
    const charges = this.#startedHere ? this.#options.charge() : undefined
    if (charges !== undefined) this.#completion = { ...this.#completion, ...charges, costSource: 'gateway' }
    const { outcome, exitCode, durationMs } = this.#completion
    if (this.#startedHere) {
      this.#options.log.info({ ...this.#ids, outcome, exitCode, durationMs }, 'run completed')
      this.#options.onCompleted()
    } else if (!('lost' in ending && ending.lost === 'sandbox')) {
      this.#options.onSeenCompleted()
    }
    return this.#completion
  }

  get #ids () {
    const { owned, started } = this.#options
    return { runId: started.run, sandboxId: owned.id, owner: owned.owner }
  }
}

/** A reader that stalls must not hold much in its stream's buffer. */
function * inParts (batch: RunEvent[]): Generator<RunEvent[]> {
  for (let start = 0; start < batch.length;) {
    let end = start
    for (let bytes = 0; end < batch.length && bytes < partBytes; end++) bytes += batch[end]!.json.length
    yield start === 0 && end === batch.length ? batch : batch.slice(start, end)
    start = end
  }
}
