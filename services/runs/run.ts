import type { ContainerProcess } from 'modal'
import { AppError, chain, wrap } from '../../errors.js'
import type { Completion, PendingPermission, RunView } from '../../schemas/run.js'
import { expiryOf } from '../sandboxes/expiry.js'
import type { OwnedSandbox } from '../sandboxes/owned.js'
import type { Log } from '../sandboxes/steps.js'
import { scanRuns, stopRun } from './directory.js'
import { Follower, type FollowerEnd } from './follower.js'
import type { Ending } from './outcome.js'
import type { ParsedEvent } from './output.js'
import { readPage, readTail, type Page } from './page.js'
import type { StartedRecord } from './records.js'
import { RunState } from './state.js'
import { surveyPermissions, type Survey } from './survey.js'
import { EventWindow, type RunEvent } from './window.js'

/** After the last reader of a run that another replica has started, until this one stops following it. */
const lingerMs = 5000
const partBytes = 256 * 1024

export interface RunParts {
  owned: OwnedSandbox
  started: StartedRecord
  /** Values that must not be in any event. */
  secrets: readonly string[]
  log: Log
  /** Called once, when a run that this replica has started is over. */
  onCompleted: () => void
}

/** One run of Claude as this replica sees it, watched by any number of readers. The truth is its log in the sandbox. */
export class Run {
  readonly id: string
  readonly owned: OwnedSandbox
  readonly #parts: RunParts
  #state = new RunState()
  #window = new EventWindow(0)
  #follower: Follower | undefined
  /** Followed to its end, as this replica has started it; readers or not. */
  #own = false
  #completion: Completion | undefined
  /** What Claude waited for when the sandbox was asked. */
  #asked: PendingPermission[] = []
  /** Bytes that the log had at least. */
  #size = 0
  /** The last event of the log, whose data is not known before all is read. */
  #last: ParsedEvent | undefined
  #readers = 0
  #lingering: NodeJS.Timeout | undefined

  constructor (parts: RunParts) {
    this.#parts = parts
    this.id = parts.started.run
    this.owned = parts.owned
    this.#state.started = parts.started
  }

  get completion (): Completion | undefined {
    return this.#completion
  }

  /** Whether what is known here is the latest. */
  get isCurrent (): boolean {
    return this.#follower !== undefined || this.#completion !== undefined
  }

  /** Whether this replica has started it and sees to its limits. */
  get isOwn (): boolean {
    return this.#own
  }

  /** Whether it goes on without readers. */
  get continues (): boolean {
    return this.#parts.started.onDisconnect === 'continue'
  }

  /** When the sandbox ends, and from when on that is told. */
  get expiry (): { expiresAt: string, warnAt: number } {
    return { expiresAt: this.owned.expiresAt, warnAt: expiryOf(this.owned).warnAt }
  }

  /** Memory that it takes, about. */
  get bytes (): number {
    return this.#window.bytes
  }

  view (): RunView {
    const { startedAt, prompt, sandboxId } = this.#parts.started
    return {
      runId: this.id,
      sandboxId,
      sessionId: this.#state.sessionId,
      status: this.#completion === undefined ? 'running' : 'completed',
      startedAt,
      prompt,
      pendingPermissions: this.#pendingPermissions,
      ...(this.#completion !== undefined && { completion: this.#completion })
    }
  }

  get #pendingPermissions (): PendingPermission[] {
    if (this.#completion !== undefined) return []
    return this.#own ? this.#state.pendingPermissions : this.#asked
  }

  /** This replica's own run: the output of its runner is the log from the first byte on. */
  followRunner (runner: ContainerProcess<Uint8Array>): void {
    this.#own = true
    this.#follow(0, runner)
  }

  /** Asks the sandbox what Claude waits for, when that is not known here from the log as it grows. */
  async lookAtPermissions (): Promise<void> {
    const { owned, started: { asks, sandboxId }, secrets } = this.#parts
    if (this.#own || this.#completion !== undefined || !asks || sandboxId !== owned.id) return
    this.#asked = await surveyPermissions(owned, this.id, secrets)
  }

  /** What the sandbox says, when nothing newer is known here. */
  learn ({ state, size, ending }: Survey): void {
    if (this.isCurrent) return
    this.#state = state
    this.#size = size
    if (ending === undefined) return
    if ('record' in ending) this.#close(size, ending)
    else this.lose('stream')
  }

  /** Its log can not be read to an end any more, and nobody follows it. */
  lose (lost: 'sandbox' | 'stream'): void {
    if (this.isCurrent) return
    this.#close(this.#size, { stop: '', exitCode: null, lost })
    this.#window.append([{ id: this.#size + 1, event: 'run.completed', json: JSON.stringify(this.#completion) }])
  }

  /** Nobody here wants to know of it any more; the run itself goes on. */
  leave (): void {
    clearTimeout(this.#lingering)
    this.#follower?.leave()
  }

  /** Counts a reader in; call the answer when it leaves. Without any the run ends after a grace time (4.6). */
  attach (): () => void {
    this.#readers++
    clearTimeout(this.#lingering)
    this.#follower?.beat()
    return () => {
      // Tells that somebody was there until now.
      this.#follower?.beat()
      this.#readers--
      if (this.#readers > 0 || this.#own) return
      this.#lingering = setTimeout(() => { this.leave() }, lingerMs).unref()
    }
  }

  /** Everything after a position, in batches, then what comes, until the run or the reader ends. */
  async * read (after: number, signal: AbortSignal): AsyncGenerator<RunEvent[]> {
    const wake = () => { this.#window.wake() }
    signal.addEventListener('abort', wake, { once: true })
    try {
      for (let position = after; !signal.aborted;) {
        if (!this.isCurrent) this.#follow(position <= this.#size ? position : 0)
        const window = this.#window
        const batch = position < window.start ? await this.#readBehind(position, window.start) : window.take(position)
        if (batch.length > 0) {
          position = batch.at(-1)!.id
          yield * inParts(batch)
          if (batch.at(-1)!.event === 'run.completed') return
        } else if (window.ended) {
          return
        } else {
          await window.change
        }
      }
    } finally {
      signal.removeEventListener('abort', wake)
    }
  }

  /** The next events after a position, without waiting for any; asking for them counts as reading. */
  async page (after: number): Promise<{ events: RunEvent[], done: boolean }> {
    const window = this.#window
    if (this.isCurrent && after >= window.start) {
      this.attach()()
      const events = window.take(after)
      return { events, done: window.ended && window.take(events.at(-1)?.id ?? after).length === 0 }
    }
    const { events, ended } = await this.#readPage(after)
    return { events, done: ended }
  }

  #follow (position: number, runner?: ContainerProcess<Uint8Array>) {
    const { owned, started, secrets, log } = this.#parts
    this.#window = new EventWindow(position)
    this.#follower = new Follower({
      owned,
      runId: this.id,
      format: started.format,
      secrets,
      position,
      runner,
      log,
      hasReaders: () => this.#readers > 0,
      onEvents: (events) => { this.#take(events) }
    })
    this.#follower.finished.then(async (end) => { await this.#end(end) }).catch((error: unknown) => {
      log.error({ ...this.#ids, chain: chain(error) }, 'run could not be completed')
    })
  }

  #take (events: ParsedEvent[]) {
    for (const event of events) this.#state.see(event)
    if (events.at(-1)?.event === 'run.completed') this.#last = events.pop()
    this.#window.append(events)
  }

  async #end (end: FollowerEnd) {
    if (end.how === 'left') {
      this.#size = Math.max(this.#size, this.#window.lastId)
      this.#follower = undefined
      this.#window.wake()
      return
    }
    if (end.how === 'ended') {
      await this.#learnResult()
      const completed = this.#complete(this.#state.ended!)
      this.#window.append([{ id: this.#last!.id, event: 'run.completed', json: JSON.stringify(completed) }])
    } else {
      const failure = wrap(end.cause ?? new Error('its log ends too early'), 'run', 'CLAUDE_FAILED')
      const { code, message, hint, statusCode } = failure
      this.#parts.log.error({ ...this.#ids, chain: chain(failure), err: failure }, 'run lost')
      // Nobody could see it any more, or what it does.
      if (end.how === 'stream') {
        await stopRun(this.owned, this.id, 'cancelled').catch((error: unknown) => {
          this.#parts.log.error({ ...this.#ids, chain: chain(error) }, 'lost run could not be stopped')
        })
      }
      const completed = this.#complete({ stop: '', exitCode: null, lost: end.how })
      // No log has these two: they come after its last byte.
      const last = this.#window.lastId
      this.#window.append([
        { id: last + 1, event: 'error', json: JSON.stringify({ statusCode, code, message, hint }) },
        { id: last + 2, event: 'run.completed', json: JSON.stringify(completed) }
      ])
    }
    this.#window.end()
    this.#follower = undefined
  }

  /** Who began to read in the middle may have missed the result. */
  async #learnResult () {
    if (this.#state.hasResult || this.#window.complete) return
    const [found] = await scanRuns(this.owned, { only: this.id })
    if (found === undefined) return
    const { started } = this.#parts
    const options = { run: this.id, format: started.format }
    const tail = await readTail(this.owned, { ...options, secrets: [] }, found.size, found.tail)
    const { ended, sessionId } = this.#state
    this.#state = Object.assign(tail, { started, ended, fallbackSession: sessionId })
  }

  #close (size: number, ending: Ending) {
    this.#window = new EventWindow(size)
    this.#complete(ending)
    this.#window.end()
  }

  #complete (ending: Ending): Completion {
    if (this.#completion !== undefined) return this.#completion
    this.#completion = this.#state.completion(ending)
    const { outcome, exitCode, durationMs } = this.#completion
    if (this.#own) {
      this.#parts.log.info({ ...this.#ids, outcome, exitCode, durationMs }, 'run completed')
      this.#parts.onCompleted()
    }
    return this.#completion
  }

  async #readBehind (position: number, until: number): Promise<RunEvent[]> {
    const gap = [{ id: until, event: 'gap', json: JSON.stringify({ from: position, to: until }) }]
    try {
      const { events } = await this.#readPage(position)
      const missed = events.filter(({ id }) => id <= until)
      return missed.length > 0 ? missed : gap
    } catch (error) {
      if (error instanceof AppError && ['RUN_NOT_FOUND', 'SANDBOX_ENDED'].includes(error.code)) return gap
      throw error
    }
  }

  async #readPage (position: number): Promise<Page> {
    const { started, secrets } = this.#parts
    const options = { run: this.id, format: started.format, secrets, offset: position }
    const page = await readPage(this.owned, options, this.#completion === undefined)
    const last = page.events.at(-1)
    if (last?.event === 'run.completed') {
      if (this.#completion === undefined) {
        this.#state.see(last)
        await this.#learnResult()
        this.#close(last.id, this.#state.ended!)
      }
      last.json = JSON.stringify(this.#completion)
    }
    return page
  }

  get #ids () {
    return { runId: this.id, sandboxId: this.owned.id, owner: this.owned.owner }
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
