import { chain, wrap } from '../../errors.js'
import type { Log } from '../../lib/log.js'
import type { Completion } from '../../schemas/run.js'
import type { SandboxProcess } from '../modal/process.js'
import type { OwnedSandbox } from '../sandboxes/owned.js'
import { stopRun } from './directory.js'
import { Follower, type FollowerEnd } from './follower.js'
import type { Ending } from './outcome.js'
import type { ParsedEvent } from './output.js'
import { readPage, type Page } from './page.js'
import type { StartedRecord } from './records.js'
import { RunState } from './state.js'
import { surveyEnd, type Survey } from './survey.js'
import { EventWindow } from './window.js'

export interface RunParts {
  owned: OwnedSandbox
  started: StartedRecord
  /** Values that must not be in any event. */
  secrets: readonly string[]
  log: Log
  /** Called once, when a run that this replica has started is over. */
  onCompleted: () => void
}

/** How far a run has come, as this replica knows it: from following its log, or from what its sandbox said. */
export class Progress {
  readonly #parts: RunParts
  readonly #hasReaders: () => boolean
  #state = new RunState()
  #window = new EventWindow(0)
  #follower: Follower | undefined
  #own = false
  #completion: Completion | undefined
  #size = 0
  /** The last event of the log, whose data is not known before all is read. */
  #last: ParsedEvent | undefined

  constructor (parts: RunParts, hasReaders: () => boolean) {
    this.#parts = parts
    this.#hasReaders = hasReaders
    this.#state.started = parts.started
  }

  get completion (): Completion | undefined {
    return this.#completion
  }

  get state (): RunState {
    return this.#state
  }

  /** The latest events; another one whenever it is followed anew. */
  get window (): EventWindow {
    return this.#window
  }

  /** Bytes that the log had at least. */
  get size (): number {
    return this.#size
  }

  /** Whether what is known here is the latest. */
  get isCurrent (): boolean {
    return this.#follower !== undefined || this.#completion !== undefined
  }

  /** Whether this replica has started the run, and follows it to its end, readers or not. */
  get isOwn (): boolean {
    return this.#own
  }

  /** Follows the log from a position on; the output of its runner is the log from the first byte on. */
  follow (position: number, runner?: SandboxProcess): void {
    const { owned, started, secrets, log } = this.#parts
    if (runner !== undefined) this.#own = true
    this.#window = new EventWindow(position)
    this.#follower = new Follower({
      owned,
      runId: started.run,
      format: started.format,
      secrets,
      position,
      runner,
      log,
      hasReaders: this.#hasReaders,
      onEvents: (events) => { this.#take(events) }
    })
    this.#follower.finished.then(async (end) => { await this.#end(end) }).catch((error: unknown) => {
      log.error({ ...this.#ids, chain: chain(error) }, 'run could not be completed')
    })
  }

  /** Nobody here wants to know of it any more; the run itself goes on. */
  leave (): void {
    this.#follower?.leave()
  }

  /** Tells the sandbox at once whether there are readers. */
  beat (): void {
    this.#follower?.beat()
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

  /** Reads the log itself from a position on, and learns its end when it comes to it. */
  async readPage (position: number): Promise<Page> {
    const { owned, started, secrets } = this.#parts
    const options = { run: started.run, format: started.format, secrets, offset: position }
    const page = await readPage(owned, options, this.#completion === undefined)
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
      await this.#endLost(end.how, end.cause ?? new Error('its log ends too early'))
    }
    this.#window.end()
    this.#follower = undefined
  }

  async #endLost (how: 'sandbox' | 'stream', cause: unknown) {
    const { owned, started, log } = this.#parts
    const failure = wrap(cause, 'run', 'CLAUDE_FAILED')
    const { code, message, hint, statusCode } = failure
    log.error({ ...this.#ids, chain: chain(failure), err: failure }, 'run lost')
    // Nobody could see it any more, or what it does.
    if (how === 'stream') {
      await stopRun(owned, started.run, 'cancelled').catch((error: unknown) => {
        log.error({ ...this.#ids, chain: chain(error) }, 'lost run could not be stopped')
      })
    }
    const completed = this.#complete({ stop: '', exitCode: null, lost: how })
    // No log has these two: they come after its last byte.
    const last = this.#window.lastId
    this.#window.append([
      { id: last + 1, event: 'error', json: JSON.stringify({ statusCode, code, message, hint }) },
      { id: last + 2, event: 'run.completed', json: JSON.stringify(completed) }
    ])
  }

  /** Who began to read in the middle may have missed the result. */
  async #learnResult () {
    if (this.#state.hasResult || this.#window.complete) return
    const { owned, started } = this.#parts
    this.#state = await surveyEnd(owned, started, this.#state)
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

  get #ids () {
    const { owned, started } = this.#parts
    return { runId: started.run, sandboxId: owned.id, owner: owned.owner }
  }
}
