import { EventEmitter } from 'node:events'
import { AppError, type ErrorCode } from '../../errors.js'
import { randomId } from '../../lib/ids.js'
import type { Log } from '../../lib/log.js'
import { secretsOf } from '../../lib/redact.js'
import type { Account } from '../../schemas/account.js'
import type { PermissionAnswer, RunSpec, RunView } from '../../schemas/run.js'
import { withDeadline } from '../modal/call.js'
import { expiryOf } from '../modal/lifetime.js'
import { appName } from '../modal/names.js'
import { tagChange, tagLatestRun } from '../modal/run-tags.js'
import type { OwnedSandbox } from '../sandboxes/owned.js'
import type { Stopping } from '../sandboxes/terminate.js'
import { endAll } from './end-all.js'
import { RunInspector, type RunInspectorOptions } from './inspect.js'
import { answerPermission } from './permissions.js'
import type { StartedRecord } from './records.js'
import { RunRegistry } from './registry.js'
import { Run } from './run.js'
import { endRun } from './run-directory.js'
import { checkSpec, startRunner, type Start, type StartOptions } from './start.js'

export interface RunServiceOptions extends StartOptions, RunInspectorOptions {
  log: Log
  /** Called when a run that this replica has started is over. */
  onCompleted?: (owned: OwnedSandbox) => void
}

/** How long the end of the service waits for runs to end. */
const closeMs = 6000
/** Why a run was not begun, when nothing of it can be left. */
const refusals: ErrorCode[] = [
  'BAD_REQUEST', 'SESSION_NOT_FOUND', 'RUN_ACTIVE', 'RUN_NOT_ENDED', 'NO_CLAUDE', 'NETWORK_BLOCKED', 'SANDBOX_ENDED',
  'SANDBOX_NOT_FOUND'
]
/** When the tag of a new run is looked at again. */
const tagAgainMs = 2000

/** Starts, finds and ends runs of Claude. The truth about them is in their sandbox; this keeps what it has seen. */
export class RunService {
  readonly #options: RunServiceOptions
  readonly #secrets: readonly string[]
  readonly #inspector: RunInspector
  readonly #registry: RunRegistry
  /** Events have the ids of sandboxes in which a run has started or ended. */
  readonly #activity = new EventEmitter().setMaxListeners(0)
  /** Sandboxes where a run is being started. */
  readonly #starting = new Map<string, { runId: string, accountId: string }>()

  constructor (options: RunServiceOptions) {
    this.#options = options
    this.#secrets = options.model.secrets ?? secretsOf(options.model.env)
    this.#inspector = new RunInspector(options)
    this.#registry = new RunRegistry(
      this.#inspector, (owned, started) => this.#make(owned, started, options.log))
  }

  /**
   * Starts Claude in a sandbox.
   * @throws {AppError} BAD_REQUEST, NETWORK_BLOCKED, SESSION_NOT_FOUND, RUN_ACTIVE with the active run's id,
   * LIMIT_REACHED, SANDBOX_EXPIRING, SANDBOX_ENDED, CLAUDE_FAILED.
   */
  async start (account: Account, owned: OwnedSandbox, spec: RunSpec, log: Log = this.#options.log): Promise<Run> {
    checkSpec(spec)
    if (owned.network === 'blocked') throw new AppError('NETWORK_BLOCKED')
    const { expiresAt } = owned
    if (Date.now() > expiryOf(owned).closedAt) throw new AppError('SANDBOX_EXPIRING', { details: { expiresAt } })
    const busy = this.#registry.activeHere(owned.id)?.id ?? this.#starting.get(owned.id)?.runId
    if (busy !== undefined) throw new AppError('RUN_ACTIVE', { details: { runId: busy } })
    this.#checkLimit(account)
    const id = randomId('run')
    this.#starting.set(owned.id, { runId: id, accountId: account.id })
    try {
      const run = await this.#start(id, account, owned, spec, log)
      log.info({ runId: id, sandboxId: owned.id, accountId: account.id }, 'run started')
      return run
    } finally {
      this.#starting.delete(owned.id)
    }
  }

  /** @throws {AppError} RUN_NOT_FOUND for another sandbox's run, too; SANDBOX_ENDED when it can't be read any more. */
  async get (owned: OwnedSandbox, runId: string): Promise<Run> {
    return await this.#registry.get(owned, runId)
  }

  /** The same for a reader that will follow it from a position on. */
  async getToFollow (owned: OwnedSandbox, runId: string, position: number): Promise<Run> {
    return await this.#registry.getToFollow(owned, runId, position)
  }

  /** Newest first. */
  async list (owned: OwnedSandbox): Promise<Run[]> {
    return await this.#registry.list(owned)
  }

  /** A run as any replica sees it. @throws {AppError} SANDBOX_ENDED while the run is being lost with its sandbox. */
  async view (run: Run): Promise<RunView> {
    await run.refreshPermissions()
    return run.view()
  }

  /**
   * Answers a request of Claude's.
   * @throws {AppError} PERMISSION_NOT_FOUND, PERMISSION_RESOLVED, BAD_REQUEST, RUN_NOT_FOUND, SANDBOX_ENDED.
   */
  async answer (run: Run, permissionId: string, answer: PermissionAnswer): Promise<RunView> {
    checkHere(run)
    if (!run.view().interactive) throw notAsking()
    const kind = await answerPermission(run.owned, run.id, permissionId, answer)
    const { decision } = answer
    this.#options.log.info({ runId: run.id, sandboxId: run.owned.id, permissionId, kind, decision }, 'permission answered')
    const view = await this.view(run)
    // It is in the log only a moment later.
    return { ...view, pendingPermissions: view.pendingPermissions.filter(({ id }) => id !== permissionId) }
  }

  /** @param isRunning whether the sandbox runs, if Modal is being asked for it. */
  async active (
    owned: OwnedSandbox, isRunning = Promise.resolve(true)
  ): Promise<{ runId: string, sessionId: string | null, startedAt: string } | undefined> {
    // Other sandboxes on the volume may have runs, too.
    const [run] = (await this.#registry.listStarted(owned, isRunning))
      .filter((run) => run.completion === undefined && run.view().sandboxId === owned.id)
    if (run === undefined) return
    const { sessionId, startedAt } = run.view()
    return { runId: run.id, sessionId, startedAt }
  }

  /**
   * Calls back when this replica has started a run in a sandbox, or has seen one end.
   * @returns a function that stops that.
   */
  onActivity ({ id }: OwnedSandbox, listener: () => void): () => void {
    this.#activity.on(id, listener)
    return () => { this.#activity.off(id, listener) }
  }

  /**
   * A value that changes with every run and change of conversations; undefined while a run is active in the sandbox, or
   * on its volume.
   */
  async version (owned: OwnedSandbox): Promise<string | undefined> {
    const runs = await this.list(owned)
    if (runs.some(({ completion }) => completion === undefined)) return
    return `${runs[0]?.id ?? 'none'} ${this.#registry.changeOf(owned)}`
  }

  /** The active run of a conversation, here or in another sandbox on the volume; also one that names none yet. */
  async activeOf (owned: OwnedSandbox, sessionId: string): Promise<string | undefined> {
    const active = (await this.list(owned)).filter(({ completion }) => completion === undefined)
    return active.find((run) => [sessionId, null].includes(run.view().sessionId))?.id
  }

  /** Has every replica look again at the runs and conversations of a sandbox, as some were changed or deleted. */
  async noteChange (owned: OwnedSandbox): Promise<void> {
    await tagChange(owned.sandbox, randomId('change')).catch((err: unknown) => {
      this.#options.log.warn({ sandboxId: owned.id, err }, 'change of conversations not tagged')
    })
  }

  /**
   * Ends a run, and waits until it is over. Of one that has ended nothing is alive afterwards, either: only a look at
   * its processes says so, or that its sandbox has ended.
   * @throws {AppError} RUN_NOT_ENDED when something of it is still alive, RUN_NOT_FOUND for one of another sandbox.
   */
  async cancel (run: Run): Promise<{ durationMs: number }> {
    const started = performance.now()
    checkHere(run)
    this.#options.log.info({ runId: run.id, sandboxId: run.owned.id }, 'cancelling run')
    try {
      await this.#registry.end(run)
    } catch (error) {
      const hasEnded = (error as AppError).code === 'SANDBOX_ENDED' && run.completion !== undefined
      if (!hasEnded) throw error
    }
    return { durationMs: Math.round(performance.now() - started) }
  }

  /** The same by its id, which saves a look at one that another replica has started. @throws as {@link get}, too. */
  async cancelById (owned: OwnedSandbox, runId: string): Promise<{ run: Run, durationMs: number }> {
    const started = performance.now()
    const known = await this.#registry.endUnknown(owned, runId)
    const run = known ?? await this.get(owned, runId)
    checkHere(run)
    if (known?.completion === undefined) await this.cancel(run)
    return { run, durationMs: Math.round(performance.now() - started) }
  }

  /** Ends all runs of a sandbox, then whatever else commands have left in it: it is about to end itself. */
  endAll (owned: OwnedSandbox): Stopping {
    this.#options.log.info({ sandboxId: owned.id }, 'ending all that runs in a sandbox')
    const { runs, all } = endAll(owned)
    return { runs: runs.then(async () => { await this.#registry.waitForEnds(owned) }), all }
  }

  /** The service ends, and no longer watches its runs. Those that need no readers go on. */
  async close (): Promise<void> {
    const watched = this.#registry.startedHere().filter((run) => run.completion === undefined && !run.continues)
    const ended = Promise.allSettled(watched.map(async (run) => { await this.cancel(run) }))
    await withDeadline(closeMs, () => ended).catch((error: unknown) => {
      const runIds = watched.map(({ id }) => id)
      this.#options.log.error({ runIds, err: error }, 'runs could not be ended in time')
    })
    this.#registry.close()
  }

  #checkLimit ({ id, limits }: Account) {
    const owner = appName(id)
    const active = this.#registry.startedHere().filter(({ completion }) => completion === undefined)
    const running = active.filter((run) => run.owned.owner === owner).length
    const starting = [...this.#starting.values()].filter(({ accountId }) => accountId === id).length
    if (running + starting < limits.runs) return
    const message = `Your account may have ${limits.runs} runs at a time.`
    throw new AppError('LIMIT_REACHED', { message, details: { limit: limits.runs } })
  }

  async #start (id: string, account: Account, owned: OwnedSandbox, spec: RunSpec, log: Log): Promise<Run> {
    const begin = async () => await this.#begin({ id, account, owned, spec }, log)
    const run = await begin().catch(async (error: unknown) => {
      if (!await this.#hasMadeWay(owned, error)) throw error
      return await begin()
    }).catch((error: unknown) => {
      this.#options.model.perRun?.close(owned, id)
      throw error
    })
    this.#registry.add(run)
    this.#activity.emit(owned.id)
    setTimeout(() => { this.#keepTag(run, log) }, tagAgainMs).unref()
    return run
  }

  /** A run that has begun, and that all replicas know of. @throws {AppError} when it has not; nothing of it is left. */
  async #begin (start: Start, log: Log): Promise<Run> {
    const { id, owned } = start
    const beginning = startRunner(this.#options, start).then(async ({ started, runner }) => {
      const run = this.#make(owned, started, log)
      await run.followRunner(runner)
      return run
    })
    const tagged = tagLatestRun(owned.sandbox, id, beginning.then(() => {}))
    tagged.catch(() => {})
    const run = await beginning.catch(async (error: AppError) => {
      // It may have happened all the same.
      if (!refusals.includes(error.code)) await this.#rollBack(start, log)
      throw error
    })
    await tagged.catch((err: unknown) => {
      log.warn({ runId: id, sandboxId: owned.id, err }, 'sandbox not tagged with its latest run')
    })
    return run
  }

  async #rollBack ({ id, owned }: Start, log: Log) {
    await endRun(owned, id, 'cancelled').catch((err: unknown) => {
      log.warn({ runId: id, sandboxId: owned.id, err }, 'failed start of a run not rolled back')
    })
  }

  /** Another replica that tagged the end of the run before, at the same moment, may have overwritten the tag. */
  #keepTag ({ id, owned, completion }: Run, log: Log) {
    if (completion !== undefined) return
    tagLatestRun(owned.sandbox, id).catch((err: unknown) => {
      log.warn({ runId: id, sandboxId: owned.id, err }, 'tag of the latest run not looked at')
    })
  }

  /** Whether the run for which another could not be started was overdue, and has been ended. */
  async #hasMadeWay (owned: OwnedSandbox, error: unknown): Promise<boolean> {
    if (!(error instanceof AppError) || error.code !== 'RUN_ACTIVE') return false
    const { runId } = error.details
    if (typeof runId !== 'string') return false
    return await this.#registry.get(owned, runId).then(({ completion }) => completion !== undefined, () => false)
  }

  #make (owned: OwnedSandbox, started: StartedRecord, log: Log): Run {
    const { onCompleted, model } = this.#options
    return new Run({
      owned,
      started,
      secrets: this.#secrets,
      log,
      charge: () => model.perRun?.close(owned, started.run),
      isRunning: async (sandboxId) => await this.#inspector.isRunning(owned, sandboxId),
      onCompleted: () => {
        this.#activity.emit(owned.id)
        onCompleted?.(owned)
      },
      onSeenCompleted: () => {
        this.#activity.emit(owned.id)
        model.perRun?.closeOther?.(owned, started.run)
      }
    })
  }
}

/** @throws {AppError} RUN_NOT_FOUND for a run of another sandbox on the volume. */
function checkHere (run: Run) {
  const { sandboxId } = run.view()
  if (sandboxId !== run.owned.id) throw new AppError('RUN_NOT_FOUND', { message: `That run is in the sandbox ${sandboxId}.` })
}

function notAsking (): AppError {
  return new AppError('PERMISSION_NOT_FOUND', {
    message: 'Claude asks nothing in this run: it was told that nobody answers.', hint: 'Start a run with interactive: true.'
  })
}
