import { randomUUID } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import type { ContainerProcess, ModalClient, Secret } from 'modal'
import { AppError, chain } from '../../errors.js'
import { randomId } from '../../lib/ids.js'
import type { Account } from '../../schemas/account.js'
import type { PermissionAnswer, RunSpec, RunView } from '../../schemas/run.js'
import { appName } from '../accounts/names.js'
import { expiryOf } from '../sandboxes/expiry.js'
import type { OwnedSandbox } from '../sandboxes/owned.js'
import { call, within, type Log } from '../sandboxes/steps.js'
import { promptText, runCommand, runEnvironment } from './command.js'
import { buryRun, prepareRun, stopRun } from './directory.js'
import { KnownRuns } from './known.js'
import { answerRequest } from './permissions.js'
import type { StartedRecord } from './records.js'
import { secretsOf } from './redact.js'
import { Run } from './run.js'
import { callMs, sandboxGone } from './shell.js'
import { checkArguments, checkSpec } from './spec.js'
import { surveyRun } from './survey.js'

export interface RunServiceOptions {
  client: ModalClient
  log: Log
  model: { env: Readonly<Record<string, string>>, secretName?: string | undefined }
  timeouts: { disconnectGraceMs: number, timeoutMs: number, permissionMs: number }
  /** Told of every run of this replica's that is over. */
  onCompleted?: (owned: OwnedSandbox) => void
}

/** The service's own end waits no longer for the ends of runs. */
const closeMs = 6000
/** A stopped run's own record of its end takes no longer. */
const endMs = 5000
/** On top of the runner's own timer: Modal's, in case somebody has ended the runner. */
const backstopMs = 60_000

/** Starts, finds and ends runs of Claude. What is true of them is in their sandbox; this keeps what it has seen. */
export class RunService {
  readonly #options: RunServiceOptions
  readonly #secrets: readonly string[]
  readonly #known: KnownRuns
  /** Sandboxes where a run is being started. */
  readonly #starting = new Map<string, { runId: string, accountId: string }>()

  constructor (options: RunServiceOptions) {
    this.#options = options
    this.#secrets = secretsOf(options.model.env)
    this.#known = new KnownRuns(options.client, (owned, started) => this.#make(owned, started, options.log))
  }

  /**
   * Starts Claude in a sandbox.
   * @throws {AppError} BAD_REQUEST, RUN_ACTIVE with the active run's id, LIMIT_REACHED, SANDBOX_EXPIRING,
   * SANDBOX_ENDED, CLAUDE_FAILED.
   */
  async start (account: Account, owned: OwnedSandbox, spec: RunSpec, log: Log = this.#options.log): Promise<Run> {
    checkSpec(spec)
    const { expiresAt } = owned
    if (Date.now() > expiryOf(owned).closedAt) throw new AppError('SANDBOX_EXPIRING', { details: { expiresAt } })
    const busy = this.#known.ownActive(owned.id)?.id ?? this.#starting.get(owned.id)?.runId
    if (busy !== undefined) throw new AppError('RUN_ACTIVE', { details: { runId: busy } })
    this.#checkLimit(account)
    const id = randomId('run')
    this.#starting.set(owned.id, { runId: id, accountId: account.id })
    try {
      const run = await this.#start(id, owned, spec, log)
      log.info({ runId: id, sandboxId: owned.id, accountId: account.id }, 'run started')
      return run
    } finally {
      this.#starting.delete(owned.id)
    }
  }

  /** @throws {AppError} RUN_NOT_FOUND for another sandbox's run, too; SANDBOX_ENDED when it can't be read any more. */
  async get (owned: OwnedSandbox, runId: string): Promise<Run> {
    return await this.#known.get(owned, runId)
  }

  /** Newest first. */
  async list (owned: OwnedSandbox): Promise<Run[]> {
    return await this.#known.list(owned)
  }

  /** A run as any replica sees it. @throws {AppError} SANDBOX_ENDED while the run is being lost with its sandbox. */
  async view (run: Run): Promise<RunView> {
    await run.lookAtPermissions()
    return run.view()
  }

  /**
   * Allows or denies what Claude asks for.
   * @throws {AppError} PERMISSION_NOT_FOUND, PERMISSION_RESOLVED, BAD_REQUEST, RUN_NOT_FOUND, SANDBOX_ENDED.
   */
  async answer (run: Run, permissionId: string, answer: PermissionAnswer): Promise<RunView> {
    checkHere(run)
    await answerRequest(run.owned, run.id, permissionId, answer)
    this.#options.log.info({ runId: run.id, sandboxId: run.owned.id, permissionId, decision: answer.decision }, 'permission answered')
    const view = await this.view(run)
    // The log tells it a moment later.
    return { ...view, pendingPermissions: view.pendingPermissions.filter(({ id }) => id !== permissionId) }
  }

  async active (owned: OwnedSandbox): Promise<{ runId: string, startedAt: string } | undefined> {
    if (!await this.#known.any(owned)) return
    const [run] = await this.#activeIn(owned)
    return run && { runId: run.id, startedAt: run.view().startedAt }
  }

  /** Changes with every run; undefined while one is active in the sandbox, or on its volume. */
  async settled (owned: OwnedSandbox): Promise<string | undefined> {
    const runs = await this.list(owned)
    return runs.every(({ completion }) => completion !== undefined) ? runs[0]?.id ?? 'none' : undefined
  }

  /** Ends a run and waits until it is over. @throws {AppError} CLAUDE_FAILED when something of it is still alive. */
  async cancel (run: Run): Promise<{ durationMs: number }> {
    const started = performance.now()
    if (run.completion === undefined) {
      checkHere(run)
      this.#options.log.info({ runId: run.id, sandboxId: run.owned.id }, 'run is cancelled')
      const clean = await stopRun(run.owned, run.id, 'cancelled')
      if (!clean) throw new AppError('CLAUDE_FAILED', { message: 'Parts of the run are still alive.', step: 'cancel' })
      await this.#seeEnd(run)
    }
    return { durationMs: Math.round(performance.now() - started) }
  }

  async cancelAll (owned: OwnedSandbox): Promise<void> {
    const running = await this.#activeIn(owned)
    await Promise.all(running.map(async (run) => { await this.cancel(run) }))
  }

  /** The service ends: nobody would watch these runs any more. Those that may go on alone do. */
  async close (): Promise<void> {
    const watched = this.#known.own().filter((run) => run.completion === undefined && !run.continues)
    const ended = Promise.allSettled(watched.map(async (run) => { await this.cancel(run) }))
    await within(closeMs, () => ended).catch((error: unknown) => {
      this.#options.log.error({ runIds: watched.map(({ id }) => id), chain: chain(error) }, 'runs could not be ended in time')
    })
    this.#known.close()
  }

  /** Other sandboxes on the volume may have runs, too. */
  async #activeIn (owned: OwnedSandbox): Promise<Run[]> {
    return (await this.list(owned)).filter((run) => run.completion === undefined && run.view().sandboxId === owned.id)
  }

  /** Nothing of the run is alive: its runner records the end, or else it is recorded here. */
  async #seeEnd (run: Run): Promise<void> {
    let buried = false
    for (let until = Date.now() + endMs; run.completion === undefined;) {
      if (!run.isCurrent) {
        const survey = await surveyRun(this.#options.client, run.owned, run.id)
        if (survey === undefined) return
        run.learn(survey)
      } else {
        await sleep(20)
      }
      if (Date.now() < until) continue
      if (buried) throw new AppError('CLAUDE_FAILED', { message: 'The run has not recorded its end.', step: 'cancel' })
      buried = true
      until = Date.now() + endMs
      await buryRun(run.owned, run.id, 'runner')
    }
  }

  #checkLimit ({ id, limits }: Account) {
    const owner = appName(id)
    const running = this.#known.own().filter((run) => run.owned.owner === owner && run.completion === undefined).length
    const starting = [...this.#starting.values()].filter(({ accountId }) => accountId === id).length
    if (running + starting < limits.runs) return
    const message = `Your account may have ${limits.runs} runs at a time.`
    throw new AppError('LIMIT_REACHED', { message, details: { limit: limits.runs } })
  }

  async #start (id: string, owned: OwnedSandbox, spec: RunSpec, log: Log): Promise<Run> {
    const { model, timeouts } = this.#options
    const sessionId = spec.continue ? null : spec.sessionId ?? randomUUID()
    const timeoutMs = spec.timeoutMs ?? timeouts.timeoutMs
    const command = runCommand(owned, id, spec, sessionId, {
      timeoutMs, graceMs: timeouts.disconnectGraceMs, permissionMs: timeouts.permissionMs
    })
    checkArguments(command)
    const secrets = await this.#lookUpSecret()
    const started: StartedRecord = {
      record: 'started',
      run: id,
      sandboxId: owned.id,
      sessionId,
      startedAt: new Date().toISOString(),
      prompt: [...spec.prompt].slice(0, 200).join(''),
      format: spec.outputFormat ?? 'stream-json',
      onDisconnect: spec.onDisconnect ?? 'terminate',
      timeoutMs,
      ...spec.permissionMode === 'ask' && { asks: true }
    }
    await prepareRun(owned, started, promptText(spec))
    const pointed = this.#known.point(owned, id).catch((error: unknown) => {
      log.warn({ runId: id, chain: chain(error) }, 'run not noted at its sandbox')
    })
    const runner = await call('start Claude', callMs, () => owned.sandbox.exec(command, {
      mode: 'binary',
      workdir: owned.workdir,
      timeoutMs: timeoutMs + backstopMs,
      env: { ...model.env, ...runEnvironment(owned) },
      secrets
    }), { ...sandboxGone, invalid: 'CLAUDE_FAILED' }).catch(async (error: unknown) => {
      await leave(id, owned).catch((cause: unknown) => log.warn({ runId: id, chain: chain(cause) }, 'run not taken back'))
      throw error
    })
    await pointed
    const run = this.#make(owned, started, log)
    run.followRunner(runner as ContainerProcess<Uint8Array>)
    this.#known.keep(run)
    return run
  }

  #make (owned: OwnedSandbox, started: StartedRecord, log: Log): Run {
    const { onCompleted } = this.#options
    return new Run({
      owned,
      started,
      secrets: this.#secrets,
      log,
      onCompleted: () => { onCompleted?.(owned) }
    })
  }

  /** The Modal secret with the model key, when the operator named one. A wrong name is not the client's mistake. */
  async #lookUpSecret (): Promise<Secret[]> {
    const { client, model: { secretName } } = this.#options
    if (secretName === undefined) return []
    return [await call('model secret', callMs, () => client.secrets.fromName(secretName), { notFound: 'CLAUDE_FAILED' })]
  }
}

/** Another sandbox on the volume has it. */
function checkHere (run: Run) {
  const { sandboxId } = run.view()
  if (sandboxId !== run.owned.id) throw new AppError('RUN_NOT_FOUND', { message: `That run is in the sandbox ${sandboxId}.` })
}

/** Takes back a start that failed: it may have happened all the same. */
async function leave (id: string, owned: OwnedSandbox): Promise<void> {
  await stopRun(owned, id, 'cancelled')
  await buryRun(owned, id, 'runner')
}
