import { randomUUID } from 'node:crypto'
import type { ContainerProcess, ModalClient, Secret } from 'modal'
import { AppError, chain, wrap } from '../../errors.js'
import { randomId } from '../../lib/ids.js'
import type { Account } from '../../schemas/account.js'
import type { RunSpec } from '../../schemas/run.js'
import type { OwnedSandbox } from '../sandboxes/owned.js'
import { execMarker, killMarked } from '../sandboxes/kill.js'
import { call, within, type Log } from '../sandboxes/steps.js'
import { leaveCommand, prepareCommand, promptText, runCommand, runEnvironment } from './command.js'
import { Run } from './run.js'

export interface RunServiceOptions {
  client: ModalClient
  log: Log
  model: { env: Readonly<Record<string, string>>, secretName?: string | undefined }
  timeouts: { disconnectGraceMs: number, timeoutMs: number }
  /** Told of every run that is over. */
  onCompleted?: (owned: OwnedSandbox) => void
}

const callMs = 30_000
/** Ended runs that can still be read: so many, so large together, so long. */
const keptRuns = 200
const keptBytes = 64 * 1024 * 1024
const keptMs = 60 * 60 * 1000
/** The service's own end waits no longer for the ends of runs. */
const closeMs = 6000
/** An interrupted run's id, as far as the sandbox can be believed. */
const runIdPattern = /^run_[a-z0-9]{20}$/
/** On top of our own timer: Modal's, in case this process is gone by then. */
const backstopMs = 60_000
const taken = 75
const gone = { conflict: 'SANDBOX_ENDED', notFound: 'SANDBOX_ENDED' } as const

/** Starts, finds and ends runs of Claude. */
export class RunService {
  readonly #options: RunServiceOptions
  readonly #secrets: readonly string[]
  /** In the order of their start. */
  readonly #runs = new Map<string, Run>()
  /** Sandboxes where a run is being started. */
  readonly #starting = new Map<string, { runId: string, accountId: string }>()

  constructor (options: RunServiceOptions) {
    this.#options = options
    const { env } = options.model
    this.#secrets = [env['ANTHROPIC_API_KEY'], env['AWS_BEARER_TOKEN_BEDROCK']].filter((value) => value !== undefined)
  }

  /**
   * Starts Claude in a sandbox.
   * @throws {AppError} BAD_REQUEST, RUN_ACTIVE with the active run's id, LIMIT_REACHED, SANDBOX_ENDED, CLAUDE_FAILED.
   */
  async start (account: Account, owned: OwnedSandbox, spec: RunSpec, log: Log = this.#options.log): Promise<Run> {
    checkSpec(spec)
    const busy = this.active(owned.id)?.runId ?? this.#starting.get(owned.id)?.runId
    if (busy !== undefined) throw new AppError('RUN_ACTIVE', { details: { runId: busy } })
    this.#checkLimit(account)
    const id = randomId('run')
    this.#starting.set(owned.id, { runId: id, accountId: account.id })
    try {
      const run = await this.#start(id, account, owned, spec, log)
      this.#keep(run)
      run.finished.then(() => { this.#options.onCompleted?.(owned) })
      log.info({ runId: id, sandboxId: owned.id, accountId: account.id }, 'run started')
      return run
    } finally {
      this.#starting.delete(owned.id)
    }
  }

  /** @throws {AppError} RUN_NOT_FOUND for another sandbox's run, too. */
  get (sandboxId: string, runId: string): Run {
    const run = this.#runs.get(runId)
    if (run?.sandboxId !== sandboxId) throw new AppError('RUN_NOT_FOUND')
    return run
  }

  /** Newest first. */
  list (sandboxId: string): Run[] {
    return [...this.#runs.values()].filter((run) => run.sandboxId === sandboxId).reverse()
  }

  active (sandboxId: string): { runId: string, startedAt: string } | undefined {
    const run = this.list(sandboxId).find((run) => run.view().status === 'running')
    return run && { runId: run.id, startedAt: run.startedAt.toISOString() }
  }

  /** Ends a run and waits until it is over. @throws {AppError} CLAUDE_FAILED when something of it is still alive. */
  async cancel (run: Run): Promise<{ durationMs: number }> {
    const started = performance.now()
    const clean = await run.stop('cancelled')
    if (!clean) throw new AppError('CLAUDE_FAILED', { message: 'Parts of the run are still alive.', step: 'cancel' })
    await run.finished
    return { durationMs: Math.round(performance.now() - started) }
  }

  async cancelAll (sandboxId: string): Promise<void> {
    const running = this.list(sandboxId).filter((run) => run.view().status === 'running')
    await Promise.all(running.map(async (run) => { await this.cancel(run) }))
  }

  /** The service ends: nobody would watch these runs any more. Those that may go on alone do. */
  async close (): Promise<void> {
    const watched = [...this.#runs.values()].filter((run) => run.view().status === 'running' && !run.continues)
    const ended = Promise.allSettled(watched.map(async (run) => { await this.cancel(run) }))
    await within(closeMs, () => ended).catch((error: unknown) => {
      this.#options.log.error({ runIds: watched.map(({ id }) => id), chain: chain(error) }, 'runs could not be ended in time')
    })
  }

  #checkLimit ({ id, limits }: Account) {
    const own = [...this.#runs.values()].filter((run) => run.accountId === id)
    const running = own.filter((run) => run.view().status === 'running').length
    const starting = [...this.#starting.values()].filter(({ accountId }) => accountId === id).length
    if (running + starting < limits.runs) return
    const message = `Your account may have ${limits.runs} runs at a time.`
    throw new AppError('LIMIT_REACHED', { message, details: { limit: limits.runs } })
  }

  async #start (id: string, account: Account, owned: OwnedSandbox, spec: RunSpec, log: Log): Promise<Run> {
    const { model, timeouts } = this.#options
    const sessionId = spec.continue ? null : spec.sessionId ?? randomUUID()
    const timeoutMs = spec.timeoutMs ?? timeouts.timeoutMs
    const secrets = await this.#lookUpSecret()
    await this.#prepare(id, owned, spec)
    const process = await call('start Claude', callMs, () => owned.sandbox.exec(runCommand(id, spec, sessionId), {
      pty: true,
      mode: 'binary',
      workdir: owned.workdir,
      timeoutMs: timeoutMs + backstopMs,
      env: { ...model.env, ...runEnvironment(id, owned.mountPath ?? owned.workdir) },
      secrets
    }), { ...gone, invalid: 'CLAUDE_FAILED' }).catch(async (error: unknown) => {
      await leave(id, owned).catch((cause: unknown) => log.warn({ runId: id, chain: chain(cause) }, 'run not taken back'))
      throw error
    })
    const graceMs = timeouts.disconnectGraceMs
    const accountId = account.id
    return new Run({ id, accountId, owned, spec, sessionId, process, timeoutMs, graceMs, secrets: this.#secrets, log })
  }

  /** The Modal secret with the model key, when the operator named one. A wrong name is not the client's mistake. */
  async #lookUpSecret (): Promise<Secret[]> {
    const { client, model: { secretName } } = this.#options
    if (secretName === undefined) return []
    return [await call('model secret', callMs, () => client.secrets.fromName(secretName), { notFound: 'CLAUDE_FAILED' })]
  }

  /** Writes the run's files and takes the sandbox's place for a run, also against other replicas. */
  async #prepare (id: string, owned: OwnedSandbox, spec: RunSpec): Promise<void> {
    const [exitCode, output, complaint] = await call('prepare', callMs, async () => {
      const command = prepareCommand(id, owned.workdir)
      const process: ContainerProcess<string> = await owned.sandbox.exec(command, { workdir: '/', timeoutMs: callMs })
      await process.stdin.writeText(promptText(spec.prompt))
      await process.stdin.close()
      return await Promise.all([process.wait(), process.stdout.readText(), process.stderr.readText()])
    }, gone)
    if (exitCode === taken) {
      throw new AppError('RUN_ACTIVE', { details: { runId: runIdPattern.test(output) ? output : null } })
    }
    if (exitCode !== 0) {
      throw wrap(new Error(`exit code ${exitCode}: ${complaint.slice(0, 500)}`), 'prepare', 'CLAUDE_FAILED')
    }
  }

  #keep (run: Run) {
    this.#runs.set(run.id, run)
    this.#forgetOld()
    run.finished.then(() => {
      this.#forgetOld()
      setTimeout(() => this.#runs.delete(run.id), keptMs).unref()
    })
  }

  #forgetOld () {
    let bytes = [...this.#runs.values()].reduce((sum, { log }) => sum + log.bytes, 0)
    for (const [id, old] of this.#runs) {
      if (this.#runs.size <= keptRuns && bytes <= keptBytes) break
      if (old.view().status === 'running') continue
      this.#runs.delete(id)
      bytes -= old.log.bytes
    }
  }
}

/** Takes back a start that failed: it may have happened all the same. */
async function leave (id: string, { sandbox }: OwnedSandbox): Promise<void> {
  await killMarked(sandbox, `${execMarker}=${id}`)
  await call('leave', callMs, () => sandbox.exec(leaveCommand(id), { workdir: '/', stdout: 'ignore', stderr: 'ignore' }))
}

function checkSpec ({ prompt, sessionId, continue: goOn }: RunSpec) {
  if (Buffer.byteLength(prompt) > 1_048_576) {
    throw new AppError('PAYLOAD_TOO_LARGE', { message: 'body.prompt is larger than 1 MB.' })
  }
  if (prompt.includes('\0')) throw new AppError('BAD_REQUEST', { message: 'body.prompt has a NUL character.' })
  if (goOn && sessionId !== undefined) {
    throw new AppError('BAD_REQUEST', { message: 'body.continue and body.sessionId exclude each other.' })
  }
}
