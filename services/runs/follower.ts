import { setTimeout as sleep } from 'node:timers/promises'
import { AppError, chain } from '../../errors.js'
import type { Log } from '../../lib/log.js'
import { callModal } from '../modal/call.js'
import { SandboxProcess } from '../modal/process.js'
import type { OwnedSandbox } from '../sandboxes/owned.js'
import { followCommand } from './command.js'
import { buryRun, scanRuns } from './directory.js'
import { follow, silenceMs } from './follow.js'
import { OutputParser, type ParsedEvent } from './output.js'
import { callMs } from './shell.js'

/** How often in a row, and after how long, the log is tried again when nothing of it arrives. */
const tries = 8
const firstPauseMs = 250
const longestPauseMs = 5000

export interface FollowerParts {
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

/** How it ended: the log has its end, nobody wants it any more, or it can not be read to its end. */
export type FollowerEnd = { how: 'ended' | 'left' | 'sandbox' | 'stream', cause?: unknown }

/** Reads a run's log as it grows. Whatever breaks on the way, it goes on where it was; who reads does not notice. */
export class Follower {
  readonly finished: Promise<FollowerEnd>
  readonly #parts: FollowerParts
  readonly #leaving = new AbortController()
  #position: number
  #ended = false
  #beat: () => void = () => {}

  constructor (parts: FollowerParts) {
    this.#parts = parts
    this.#position = parts.position
    this.finished = this.#follow(parts.runner)
  }

  /** Tells the sandbox at once that there are readers. */
  beat (): void {
    this.#beat()
  }

  leave (): void {
    this.#leaving.abort()
  }

  async #follow (runner: SandboxProcess | undefined): Promise<FollowerEnd> {
    const { owned, log, runId } = this.#parts
    let cause: unknown
    let process = runner
    for (let failed = 0, position = -1; failed < tries; failed++) {
      if (this.#position > position) failed = 0
      position = this.#position
      if (failed > 0) await sleep(Math.min(longestPauseMs, firstPauseMs * 2 ** failed), undefined, { ref: false })
      try {
        process ??= await this.#open()
        await this.#read(process)
        if (this.#ended) return { how: 'ended' }
        if (this.#leaving.signal.aborted) return { how: 'left' }
        await this.#bury()
      } catch (error) {
        cause = error
        if (this.#leaving.signal.aborted) return { how: 'left' }
        if (await this.#sandboxEnded(error)) return { how: 'sandbox', cause }
        log.warn({ runId, sandboxId: owned.id, position, chain: chain(error) }, 'run log is read again')
        if (error instanceof AppError && error.code === 'RUN_NOT_FOUND') break
      }
      process = undefined
    }
    return { how: 'stream', cause }
  }

  async #open (): Promise<SandboxProcess> {
    const { owned, runId } = this.#parts
    const command = followCommand(owned, runId, this.#position)
    return await SandboxProcess.start(owned.sandbox, command, { step: 'follow run', silenceMs })
  }

  async #read (process: SandboxProcess) {
    const { runId, format, secrets, onEvents, hasReaders } = this.#parts
    const parser = new OutputParser({ run: runId, format, secrets, offset: this.#position })
    const over = new AbortController()
    const stop = () => { over.abort() }
    this.#leaving.signal.addEventListener('abort', stop, { once: true })
    if (this.#leaving.signal.aborted) stop()
    try {
      await follow(process, {
        hasReaders,
        onBeat: (beat) => { this.#beat = beat },
        signal: over.signal,
        take: (chunk) => {
          const events = parser.push(chunk)
          this.#position = parser.position
          const end = events.findIndex(({ record }) => record?.record === 'ended')
          if (end !== -1) {
            this.#ended = true
            events.length = end + 1
            over.abort()
          }
          onEvents(events)
        }
      })
    } finally {
      this.#leaving.signal.removeEventListener('abort', stop)
    }
  }

  /** The stream has ended before the log has: somebody else must write its end when its runner can not any more. */
  async #bury () {
    const { owned, runId } = this.#parts
    const [found] = await scanRuns(owned, { only: runId })
    if (found === undefined) throw new AppError('RUN_NOT_FOUND')
    if (!found.alive) await buryRun(owned, runId, 'runner')
  }

  /** The processes of a sandbox that ends go first, so its own end may be known a little later. */
  async #sandboxEnded (error: unknown): Promise<boolean> {
    if (error instanceof AppError && error.code === 'SANDBOX_ENDED') return true
    for (let again = 0; again < 3; again++) {
      const exitCode = await callModal('poll', callMs, () => this.#parts.owned.sandbox.poll()).catch(() => null)
      if (exitCode !== null) return true
      await sleep(300, undefined, { ref: false })
    }
    return false
  }
}
