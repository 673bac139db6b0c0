import type { ModalClient } from 'modal'
import { AppError } from '../../errors.js'
import { callModal, lookupMs } from '../modal/call.js'
import type { OwnedSandbox } from '../sandboxes/owned.js'
import { runIdPattern } from './directory.js'
import type { StartedRecord } from './records.js'
import type { Run } from './run.js'
import { surveyRun, surveyRuns, type Survey } from './survey.js'

/** Runs that are over and kept: so many, so large together. All else is read from their sandbox again. */
const keptRuns = 1000
const keptBytes = 64 * 1024 * 1024
/** The sandbox' tag with the id of its latest run. */
const tag = 'ms-run'

/**
 * Runs that this replica has seen. Asking a sandbox is an exec, and every exec keeps it awake: so a look at its runs
 * asks only while one is active, which keeps it awake anyway, or when its tag names one that is not known here.
 */
export class KnownRuns {
  readonly #client: ModalClient
  readonly #make: (owned: OwnedSandbox, started: StartedRecord) => Run
  /** By sandbox and run, in the order of their first sight. */
  readonly #runs = new Map<string, Run>()
  /** The latest run of each sandbox whose runs are all known. */
  readonly #latest = new Map<string, string | null>()

  constructor (client: ModalClient, make: (owned: OwnedSandbox, started: StartedRecord) => Run) {
    this.#client = client
    this.#make = make
  }

  /** Runs that this replica has started. */
  own (): Run[] {
    return [...this.#runs.values()].filter((run) => run.isOwn)
  }

  ownActive (sandboxId: string): Run | undefined {
    return this.own().find((run) => run.owned.id === sandboxId && run.completion === undefined)
  }

  keep (run: Run): void {
    this.#runs.set(`${run.owned.id}/${run.id}`, run)
    this.#forgetOld()
  }

  /** Notes at the sandbox which run is its latest, so that other replicas need not ask it. */
  async point ({ sandbox }: OwnedSandbox, runId: string): Promise<void> {
    await callModal('note run', lookupMs, async () => { await sandbox.setTags({ ...await sandbox.getTags(), [tag]: runId }) })
  }

  /** @throws {AppError} RUN_NOT_FOUND; SANDBOX_ENDED when only a sandbox on the same volume could tell. */
  async get (owned: OwnedSandbox, runId: string): Promise<Run> {
    if (!runIdPattern.test(runId)) throw new AppError('RUN_NOT_FOUND')
    const known = this.#runs.get(`${owned.id}/${runId}`)
    if (known?.isCurrent) return known
    const survey = await surveyRun(this.#client, owned, runId).catch((error: AppError) => sandboxEnded(error))
    if (survey === 'sandbox ended') return known !== undefined ? loseWithSandbox(known) : raiseEnded(owned)
    if (survey === undefined) throw new AppError('RUN_NOT_FOUND')
    return this.#learn(owned, survey)
  }

  /** Whether a run was ever started in the sandbox: Modal is asked, not the sandbox. */
  async any (owned: OwnedSandbox): Promise<boolean> {
    return this.ownActive(owned.id) !== undefined || await latestOf(owned) !== null
  }

  /** Newest first. */
  async list (owned: OwnedSandbox): Promise<Run[]> {
    const latest = await latestOf(owned)
    if (this.#latest.get(owned.id) !== latest || this.#of(owned).some((run) => !run.isCurrent)) {
      const known = this.#of(owned).filter((run) => run.isCurrent).map(({ id }) => id)
      const surveys = await surveyRuns(this.#client, owned, known).catch((error: AppError) => sandboxEnded(error))
      if (surveys === 'sandbox ended') this.#of(owned).forEach(loseWithSandbox)
      else for (const survey of surveys) this.#learn(owned, survey)
      this.#latest.set(owned.id, latest)
    }
    return this.#of(owned).sort((one, other) => one.view().startedAt < other.view().startedAt ? 1 : -1)
  }

  /** Leaves all runs alone. */
  close (): void {
    for (const run of this.#runs.values()) run.leave()
  }

  #of ({ id }: OwnedSandbox): Run[] {
    return [...this.#runs.values()].filter((run) => run.owned.id === id)
  }

  #learn (owned: OwnedSandbox, survey: Survey): Run {
    const key = `${owned.id}/${survey.started.run}`
    const run = this.#runs.get(key) ?? this.#make(owned, survey.started)
    run.learn(survey)
    this.keep(run)
    return run
  }

  #forgetOld () {
    let bytes = [...this.#runs.values()].reduce((sum, run) => sum + run.bytes, 0)
    for (const [key, run] of this.#runs) {
      if (this.#runs.size <= keptRuns && bytes <= keptBytes) return
      if (run.completion === undefined) continue
      this.#runs.delete(key)
      this.#latest.delete(run.owned.id)
      bytes -= run.bytes
    }
  }
}

async function latestOf ({ sandbox }: OwnedSandbox): Promise<string | null> {
  return (await callModal('tags', lookupMs, () => sandbox.getTags()))[tag] ?? null
}

function sandboxEnded (error: AppError): 'sandbox ended' {
  if (error.code !== 'SANDBOX_ENDED') throw error
  return 'sandbox ended'
}

function loseWithSandbox (run: Run): Run {
  run.lose('sandbox')
  return run
}

function raiseEnded ({ volume }: OwnedSandbox): never {
  if (volume === undefined) throw new AppError('RUN_NOT_FOUND')
  throw new AppError('SANDBOX_ENDED', { hint: 'Create a sandbox on the same volume: it has the runs of this one.' })
}
