import { setTimeout as sleep } from 'node:timers/promises'
import type { ContainerProcess } from 'modal'
import { chain, wrap } from '../../errors.js'
import type { Completion, RunSpec, RunView } from '../../schemas/run.js'
import { execMarker, killMarked, type KillStage } from '../sandboxes/kill.js'
import type { OwnedSandbox } from '../sandboxes/owned.js'
import type { Log } from '../sandboxes/steps.js'
import { follow } from './follow.js'
import { RunLog } from './log.js'
import { completion, type ResultEvent } from './outcome.js'
import { takeOutput } from './output.js'

/** Claude first gets the chance to end its tools and save the conversation. */
const cancelStages: readonly KillStage[] = [
  { signal: 'INT', waitMs: 1500 }, { signal: 'TERM', waitMs: 700 }, { signal: 'KILL', waitMs: 3000 }
]
/** Claude sometimes does not exit after its result. */
const resultPatienceMs = 10_000

export interface RunParts {
  id: string
  accountId: string
  owned: OwnedSandbox
  spec: RunSpec
  sessionId: string | null
  process: ContainerProcess<Uint8Array>
  timeoutMs: number
  graceMs: number
  /** Values that must not be in any event. */
  secrets: readonly string[]
  log: Log
}

/** One run of Claude, from its first byte to `run.completed`, watched by any number of readers. */
export class Run {
  readonly id: string
  readonly accountId: string
  readonly sandboxId: string
  readonly startedAt = new Date()
  readonly log: RunLog
  /** Settles after `run.completed`. Never rejects. */
  readonly finished: Promise<Completion>
  readonly #parts: RunParts
  #sessionId: string | null
  #result: ResultEvent | undefined
  #stoppedFor: 'cancelled' | 'timeout' | undefined
  #stopping: Promise<boolean> | undefined
  #completion: Completion | undefined
  #readers = 0
  #grace: NodeJS.Timeout | undefined
  readonly #timers = new Set<NodeJS.Timeout>()

  constructor (parts: RunParts) {
    this.#parts = parts
    this.id = parts.id
    this.accountId = parts.accountId
    this.sandboxId = parts.owned.id
    this.log = new RunLog()
    this.#sessionId = parts.sessionId
    this.#emit('run.started', {
      runId: this.id, sandboxId: this.sandboxId, sessionId: this.#sessionId, startedAt: this.startedAt.toISOString()
    })
    this.#after(parts.timeoutMs, () => this.stop('timeout'))
    this.#watchReaders()
    this.finished = this.#follow()
  }

  get #ids () {
    return { runId: this.id, sandboxId: this.sandboxId, accountId: this.accountId }
  }

  /** Whether it goes on without readers. */
  get continues (): boolean {
    return this.#parts.spec.onDisconnect === 'continue'
  }

  view (): RunView {
    return {
      runId: this.id,
      sandboxId: this.sandboxId,
      sessionId: this.#sessionId,
      status: this.#completion === undefined ? 'running' : 'completed',
      startedAt: this.startedAt.toISOString(),
      ...(this.#completion !== undefined && { completion: this.#completion })
    }
  }

  /** Counts a reader in; call the answer when it leaves. Without any the run ends after a grace time (4.6). */
  attach (): () => void {
    this.#readers++
    this.#forget(this.#grace)
    return () => {
      this.#readers--
      this.#watchReaders()
    }
  }

  /** Ends everything the run has started. @returns whether nothing of it is left. @throws {AppError} not reachable. */
  async stop (reason: 'cancelled' | 'timeout'): Promise<boolean> {
    if (this.#completion !== undefined) return true
    // With its result there Claude had done its work: only what hangs around is stopped.
    if (this.#result === undefined) this.#stoppedFor ??= reason
    return await this.#kill()
  }

  /** One at a time; one that did not succeed can be tried again. */
  async #kill (): Promise<boolean> {
    const killing = this.#stopping ??= killMarked(this.#parts.owned.sandbox, `${execMarker}=${this.id}`, cancelStages)
    let clean = false
    try {
      clean = await killing
    } finally {
      if (!clean && this.#stopping === killing) this.#stopping = undefined
    }
    return clean
  }

  async #follow (): Promise<Completion> {
    const { process, owned, spec, secrets, log } = this.#parts
    const ending = { exitCode: null as number | null, lost: undefined as 'sandbox_lost' | 'stream_lost' | undefined }
    try {
      const taker = takeOutput({
        log: this.log, format: spec.outputFormat ?? 'stream-json', secrets, onObject: (object) => { this.#onObject(object) }
      })
      ending.exitCode = await follow(process, owned.sandbox, taker)
      const killed = ending.exitCode > 128 || ending.exitCode < 0
      const byOthers = killed && this.#result === undefined && this.#stoppedFor === undefined
      if (byOthers && await this.#endsWithSandbox()) ending.lost = 'sandbox_lost'
    } catch (error) {
      ending.lost = await this.#sandboxEnded() ? 'sandbox_lost' : 'stream_lost'
      this.#fail(error)
      if (ending.lost === 'stream_lost') await this.#kill().catch((error) => { this.#fail(error) })
    }
    await this.#stopping?.catch(() => {})
    for (const timer of this.#timers) clearTimeout(timer)
    const durationMs = Date.now() - this.startedAt.getTime()
    this.#completion = completion({
      ...ending, stoppedFor: this.#stoppedFor, result: this.#result, text: spec.outputFormat === 'text'
    }, this.#sessionId, durationMs)
    this.#emit('run.completed', this.#completion)
    this.log.end()
    const { outcome, exitCode } = this.#completion
    log.info({ ...this.#ids, outcome, exitCode, durationMs }, 'run completed')
    return this.#completion
  }

  #onObject (object: Record<string, unknown>) {
    if (typeof object['session_id'] === 'string') this.#sessionId = object['session_id']
    if (object['type'] !== 'result') return
    this.#result = object
    this.#after(resultPatienceMs, () => this.#kill())
  }

  #fail (error: unknown) {
    const failure = wrap(error, 'run', 'CLAUDE_FAILED')
    const { code, message, hint, statusCode } = failure
    this.#parts.log.error({ ...this.#ids, chain: chain(failure), err: failure }, 'run failed')
    if (this.#completion === undefined) this.#emit('error', { statusCode, code, message, hint })
  }

  #emit (event: string, data: object) {
    this.log.append(event, JSON.stringify(data))
  }

  #watchReaders () {
    if (this.#readers > 0 || this.#completion !== undefined || this.continues) return
    this.#forget(this.#grace)
    this.#grace = this.#after(this.#parts.graceMs, async () => {
      if (this.#readers > 0) return
      this.#parts.log.info(this.#ids, 'nobody reads the run: it is cancelled')
      await this.stop('cancelled')
    })
  }

  #after (ms: number, work: () => unknown): NodeJS.Timeout {
    const timer = setTimeout(async () => {
      this.#timers.delete(timer)
      try {
        await work()
      } catch (error) {
        this.#fail(error)
      }
    }, ms).unref()
    this.#timers.add(timer)
    return timer
  }

  #forget (timer: NodeJS.Timeout | undefined) {
    if (timer === undefined) return
    clearTimeout(timer)
    this.#timers.delete(timer)
  }

  /** The processes of a sandbox that ends go first, so its own end may be known a little later. */
  async #endsWithSandbox (): Promise<boolean> {
    for (let tries = 0; tries < 5; tries++) {
      if (await this.#sandboxEnded()) return true
      await sleep(400, undefined, { ref: false })
    }
    return false
  }

  async #sandboxEnded (): Promise<boolean> {
    return await this.#parts.owned.sandbox.poll().then((exitCode) => exitCode !== null, () => false)
  }
}
