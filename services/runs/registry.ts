import { setTimeout as sleep } from 'node:timers/promises'
import { AppError } from '../../errors.js'
import { latestOf, type Latest } from '../modal/run-tags.js'
import type { OwnedSandbox } from '../sandboxes/owned.js'
import type { RunInspector, RunSnapshot } from './inspect.js'
import { closeLog, openLog } from './log-follower.js'
import type { StartedRecord } from './records.js'
import type { Run } from './run.js'
import { endRun, runIdPattern } from './run-directory.js'

/** How many completed runs are kept, and how large together. All else is read from their sandbox again. */
const keptRuns = 1000
const keptBytes = 64 * 1024 * 1024
/** Modal tells the end of a run that has been ended no later. */
const endMs = 1500
const closeMs = 10_000

/**
 * Runs that this replica has seen. Asking a sandbox is an exec, and every exec keeps it awake: a look at its runs asks
 * only while one is active, which keeps it awake anyway, or when its tag names one that is not known here.
 */
export class RunRegistry {
  readonly #inspector: RunInspector
  readonly #make: (owned: OwnedSandbox, started: StartedRecord) => Run
  /** By sandbox and run, in the order of their first sight. */
  readonly #runs = new Map<string, Run>()
  /** The latest run of each sandbox whose runs are all known, */
  readonly #latest = new Map<string, string | null>()
  /** and the latest change of its conversations. */
  readonly #changes = new Map<string, string | null>()

  constructor (inspector: RunInspector, make: (owned: OwnedSandbox, started: StartedRecord) => Run) {
    this.#inspector = inspector
    this.#make = make
  }

  /** Runs that this replica has started. */
  startedHere (): Run[] {
    return [...this.#runs.values()].filter((run) => run.startedHere)
  }

  /** The active run of a sandbox, if this replica has started it. */
  activeHere (sandboxId: string): Run | undefined {
    return this.startedHere().find((run) => run.owned.id === sandboxId && run.completion === undefined)
  }

  add (run: Run): void {
    this.#runs.set(`${run.owned.id}/${run.id}`, run)
    this.#forgetOld()
  }

  /** @throws {AppError} RUN_NOT_FOUND; SANDBOX_ENDED when only a sandbox on the same volume could tell. */
  async get (owned: OwnedSandbox, runId: string): Promise<Run> {
    if (!runIdPattern.test(runId)) throw new AppError('RUN_NOT_FOUND')
    const known = this.#runs.get(`${owned.id}/${runId}`)
    if (known?.isCurrent) return known
    const snapshot = await unlessEnded(this.#inspector.inspect(owned, runId))
    if (snapshot === sandboxEnded) {
      if (known === undefined) throw lostWith(owned)
      known.markLost('sandbox')
      return known
    }
    if (snapshot === undefined) throw new AppError('RUN_NOT_FOUND')
    return this.#applySnapshot(owned, snapshot)
  }

  /** The same for a reader that will follow it from a position on: that begins while the sandbox is asked. */
  async getToFollow (owned: OwnedSandbox, runId: string, position: number): Promise<Run> {
    const isKnown = this.#runs.get(`${owned.id}/${runId}`)?.isCurrent
    if (isKnown === true || !runIdPattern.test(runId)) return await this.get(owned, runId)
    const opened = openLog(owned, runId, position)
    opened.catch(() => {})
    try {
      const run = await this.get(owned, runId)
      run.takeOpened(position, opened)
      return run
    } catch (error) {
      closeLog(opened)
      throw error
    }
  }

  /** The runs that may be active in a sandbox: none, if it has ended or none was ever started there. Newest first. */
  async listStarted (owned: OwnedSandbox, isRunning: Promise<boolean>): Promise<Run[]> {
    const [latest, runs] = await Promise.all([latestOf(owned.sandbox), isRunning])
    const hasRuns = latest.run !== null || this.activeHere(owned.id) !== undefined
    return runs && hasRuns ? await this.#list(owned, latest) : []
  }

  /** Newest first. */
  async list (owned: OwnedSandbox): Promise<Run[]> {
    return await this.#list(owned, await latestOf(owned.sandbox))
  }

  async #list (owned: OwnedSandbox, { run: latest, change }: Latest): Promise<Run[]> {
    if (change !== this.changeOf(owned)) await this.#forgetDeleted(owned)
    this.#changes.set(owned.id, change)
    if (this.#latest.get(owned.id) !== latest || this.#in(owned).some((run) => !run.isCurrent)) {
      const known = this.#in(owned).filter((run) => run.isCurrent).map(({ id }) => id)
      const snapshots = await unlessEnded(this.#inspector.inspectAll(owned, known))
      if (snapshots === sandboxEnded) for (const run of this.#in(owned)) run.markLost('sandbox')
      else for (const snapshot of snapshots) this.#applySnapshot(owned, snapshot)
      this.#latest.set(owned.id, latest)
    }
    return this.#in(owned).sort((one, other) => one.view().startedAt < other.view().startedAt ? 1 : -1)
  }

  /** The latest change of a sandbox's conversations, when its runs were last listed. */
  changeOf ({ id }: OwnedSandbox): string | null {
    return this.#changes.get(id) ?? null
  }

  /**
   * Ends a run that is not followed here, and learns what became of it, with one command: nothing is ended of one that
   * is in another sandbox.
   * @returns undefined when it is followed here. @throws {AppError} as {@link get} and {@link end}.
   */
  async endUnknown (owned: OwnedSandbox, runId: string): Promise<Run | undefined> {
    if (!runIdPattern.test(runId) || this.#runs.get(`${owned.id}/${runId}`)?.isCurrent) return
    const snapshot = await unlessEnded(this.#inspector.end(owned, runId))
    if (snapshot === undefined || snapshot === sandboxEnded) return
    return this.#applySnapshot(owned, snapshot)
  }

  /**
   * Ends a run, and waits until it is over. Also of one that is said to be over nothing is alive afterwards.
   * @throws {AppError} RUN_NOT_ENDED when something of it still is, SANDBOX_ENDED, MODAL_*.
   */
  async end (run: Run): Promise<void> {
    await endRun(run.owned, run.id, 'cancelled')
    await this.#waitForEnd(run)
  }

  /** Waits until what is followed here is over, as nothing of the sandbox's runs is alive. @throws as {@link end}. */
  async waitForEnds (owned: OwnedSandbox): Promise<void> {
    const followed = this.#in(owned).filter((run) => run.isCurrent && run.view().sandboxId === owned.id)
    await Promise.all(followed.map(async (run) => { await this.#waitForEnd(run) }))
  }

  /** Stops following all runs; they go on. */
  close (): void {
    for (const run of this.#runs.values()) run.stopFollowing()
  }

  /** Nothing of the run is alive: Modal is about to say so, or else the look that has shown it counts. */
  async #waitForEnd (run: Run): Promise<void> {
    const started = Date.now()
    for (let proven = false; run.completion === undefined;) {
      if (!run.isCurrent) {
        const snapshot = await this.#inspector.inspect(run.owned, run.id)
        if (snapshot === undefined) return
        run.applySnapshot(snapshot)
        if (run.completion !== undefined) return
      }
      await sleep(20)
      const waitedMs = Date.now() - started
      if (waitedMs > closeMs) throw new AppError('RUN_NOT_ENDED', { step: 'cancel' })
      if (proven || waitedMs < endMs) continue
      proven = true
      run.prove()
    }
  }

  #in ({ id }: OwnedSandbox): Run[] {
    return [...this.#runs.values()].filter((run) => run.owned.id === id)
  }

  #applySnapshot (owned: OwnedSandbox, snapshot: RunSnapshot): Run {
    const key = `${owned.id}/${snapshot.started.run}`
    const run = this.#runs.get(key) ?? this.#make(owned, snapshot.started)
    run.applySnapshot(snapshot)
    this.add(run)
    return run
  }

  /** Some may have been deleted with their conversation. */
  async #forgetDeleted (owned: OwnedSandbox) {
    const completed = this.#in(owned).filter((run) => run.completion !== undefined).map(({ id }) => id)
    if (completed.length === 0) return
    const there = await unlessEnded(this.#inspector.existing(owned, completed))
    if (there === sandboxEnded) return
    for (const id of completed) if (!there.includes(id)) this.#runs.delete(`${owned.id}/${id}`)
  }

  #forgetOld () {
    let bytes = [...this.#runs.values()].reduce((sum, run) => sum + run.bytes, 0)
    for (const [key, run] of this.#runs) {
      if (this.#runs.size <= keptRuns && bytes <= keptBytes) return
      if (run.completion === undefined) continue
      this.#runs.delete(key)
      this.#latest.delete(run.owned.id)
      this.#changes.delete(run.owned.id)
      bytes -= run.bytes
    }
  }
}

const sandboxEnded = Symbol('sandbox ended')

async function unlessEnded<T> (work: Promise<T>): Promise<T | typeof sandboxEnded> {
  return await work.catch((error: AppError) => {
    if (error.code !== 'SANDBOX_ENDED') throw error
    return sandboxEnded
  })
}

/** A run that this replica does not know, in a sandbox that has ended. */
function lostWith ({ volume }: OwnedSandbox): AppError {
  if (volume === undefined) return new AppError('RUN_NOT_FOUND')
  return new AppError('SANDBOX_ENDED', { hint: 'Create a sandbox on the same volume: it has the runs of this one.' })
}
