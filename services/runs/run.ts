import { AppError } from '../../errors.js'
import type { Completion, PendingPermission, RunView } from '../../schemas/run.js'
import { expiryOf } from '../modal/lifetime.js'
import type { SandboxProcess } from '../modal/process.js'
import type { OwnedSandbox } from '../sandboxes/owned.js'
import { Progress, type RunParts } from './progress.js'
import { surveyPermissions, type Survey } from './survey.js'
import type { RunEvent } from './window.js'

/** After the last reader of a run that another replica has started, until this one stops following it. */
const lingerMs = 5000
const partBytes = 256 * 1024

/** One run of Claude as this replica sees it, watched by any number of readers. The truth is its log in the sandbox. */
export class Run {
  readonly id: string
  readonly owned: OwnedSandbox
  readonly #parts: RunParts
  readonly #progress: Progress
  /** What Claude waited for when the sandbox was asked. */
  #asked: PendingPermission[] = []
  #readers = 0
  #lingering: NodeJS.Timeout | undefined

  constructor (parts: RunParts) {
    this.#parts = parts
    this.id = parts.started.run
    this.owned = parts.owned
    this.#progress = new Progress(parts, () => this.#readers > 0)
  }

  get completion (): Completion | undefined {
    return this.#progress.completion
  }

  /** Whether what is known here is the latest. */
  get isCurrent (): boolean {
    return this.#progress.isCurrent
  }

  /** Whether this replica has started it and sees to its limits. */
  get isOwn (): boolean {
    return this.#progress.isOwn
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
    return this.#progress.window.bytes
  }

  view (): RunView {
    const { startedAt, prompt, sandboxId } = this.#parts.started
    const { completion, state } = this.#progress
    return {
      runId: this.id,
      sandboxId,
      sessionId: state.sessionId,
      status: completion === undefined ? 'running' : 'completed',
      startedAt,
      prompt,
      pendingPermissions: this.#pendingPermissions,
      ...(completion !== undefined && { completion })
    }
  }

  get #pendingPermissions (): PendingPermission[] {
    if (this.completion !== undefined) return []
    return this.isOwn ? this.#progress.state.pendingPermissions : this.#asked
  }

  /** Asks the sandbox what Claude waits for, when that is not known here from the log as it grows. */
  async lookAtPermissions (): Promise<void> {
    const { owned, started: { asks, sandboxId }, secrets } = this.#parts
    if (this.isOwn || this.completion !== undefined || !asks || sandboxId !== owned.id) return
    this.#asked = await surveyPermissions(owned, this.id, secrets)
  }

  /** This replica's own run: the output of its runner is the log from the first byte on. */
  followRunner (runner: SandboxProcess): void {
    this.#progress.follow(0, runner)
  }

  /** What the sandbox says, when nothing newer is known here. */
  learn (survey: Survey): void {
    this.#progress.learn(survey)
  }

  /** Its log can not be read to an end any more, and nobody follows it. */
  lose (lost: 'sandbox' | 'stream'): void {
    this.#progress.lose(lost)
  }

  /** Nobody here wants to know of it any more; the run itself goes on. */
  leave (): void {
    clearTimeout(this.#lingering)
    this.#progress.leave()
  }

  /** Counts a reader in; call the answer when it leaves. Without any the run ends after a grace time (4.6). */
  attach (): () => void {
    this.#readers++
    clearTimeout(this.#lingering)
    this.#progress.beat()
    return () => {
      // Tells that somebody was there until now.
      this.#progress.beat()
      this.#readers--
      if (this.#readers > 0 || this.isOwn) return
      this.#lingering = setTimeout(() => { this.leave() }, lingerMs).unref()
    }
  }

  /** Everything after a position, in batches, then what comes, until the run or the reader ends. */
  async * read (after: number, signal: AbortSignal): AsyncGenerator<RunEvent[]> {
    const progress = this.#progress
    const wake = () => { progress.window.wake() }
    signal.addEventListener('abort', wake, { once: true })
    try {
      for (let position = after; !signal.aborted;) {
        if (!progress.isCurrent) progress.follow(position <= progress.size ? position : 0)
        const { window } = progress
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
    const { window } = this.#progress
    if (this.isCurrent && after >= window.start) {
      this.attach()()
      const events = window.take(after)
      return { events, done: window.ended && window.take(events.at(-1)?.id ?? after).length === 0 }
    }
    const { events, ended } = await this.#progress.readPage(after)
    return { events, done: ended }
  }

  async #readBehind (position: number, until: number): Promise<RunEvent[]> {
    const gap = [{ id: until, event: 'gap', json: JSON.stringify({ from: position, to: until }) }]
    try {
      const { events } = await this.#progress.readPage(position)
      const missed = events.filter(({ id }) => id <= until)
      return missed.length > 0 ? missed : gap
    } catch (error) {
      if (error instanceof AppError && ['RUN_NOT_FOUND', 'SANDBOX_ENDED'].includes(error.code)) return gap
      throw error
    }
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
