import { AppError, wrap } from '../../errors.js'
import type { Log } from '../../lib/log.js'
import type { Termination, TerminateStep } from '../../schemas/sandbox.js'
import type { SyncReport } from '../../schemas/sync.js'
import { callModal, withDeadline } from '../modal/call.js'
import { endingSinceStart, whenEnded, withReason } from '../modal/ending.js'
import { killMarked } from '../modal/kill.js'
import { execMarker } from '../modal/process.js'
import type { OwnedSandbox } from './owned.js'
import { statusOf } from './view.js'

export interface TerminateOptions {
  log: Log
  /** Is ending what runs in the sandbox, before it is ended itself. */
  stopping?: Stopping
  /** Stores the workspace once nothing runs in it. */
  store?: () => Promise<SyncReport>
  /** Whether the sandbox may go when its workspace could not be stored and is nowhere else. */
  force?: boolean
}

/** Settle when the runs of Claude are over, and when everything else was asked to stop as well. */
export interface Stopping { runs: Promise<void>, all: Promise<void> }

const terminateMs = 60_000
const runsMs = 30_000

/**
 * Ends a running sandbox: asks its processes to stop, then terminates it even when a step before that failed (5.2-5.5),
 * unless that would lose the last copy of its workspace.
 * @throws {AppError} WORKSPACE_NOT_STORED, or why it could not be terminated; `details.steps` says how each step went.
 */
export async function terminateSandbox (
  owned: OwnedSandbox, { log, stopping, store, force = false }: TerminateOptions
): Promise<Termination> {
  const steps: TerminateStep[] = []

  async function run<T> (step: string, work: () => Promise<T>): Promise<{ result?: T, failure?: AppError }> {
    const started = performance.now()
    const took = () => Math.round(performance.now() - started)
    try {
      const result = await work()
      steps.push({ step, ok: true, durationMs: took() })
      log.info({ step, durationMs: took(), sandboxId: owned.id }, 'step done')
      return { result }
    } catch (error) {
      const failure = wrap(error, step)
      steps.push({ step, ok: false, durationMs: took(), error: failure.message })
      log.warn({ step, durationMs: took(), sandboxId: owned.id, err: failure }, 'step failed')
      return { failure }
    }
  }

  if (stopping !== undefined) await run('runs', () => withDeadline(runsMs, () => stopping.runs))
  // Every process of an exec is marked. One that ignores the signal goes with the sandbox.
  const stop = () => stopping?.all ?? killMarked(owned.sandbox, `${execMarker}=`, [{ signal: 'TERM', waitMs: 2000 }])
  await run<unknown>('stop', async () => await stop())
  if (store !== undefined) {
    const { result, failure } = await run('sync', store)
    const report = result ?? failure?.details['report']
    if (report !== undefined) steps.at(-1)!.report = report as SyncReport
    const isLastCopy = owned.volume === undefined
    if (failure !== undefined && isLastCopy && !force && await mayRun(owned)) throw notStored(failure, steps)
  }
  const { result: exitCode = null, failure } = await run('terminate', () => end(owned))
  if (failure !== undefined) {
    const { code, message } = failure
    throw new AppError(code, { message, step: 'terminate', cause: failure, details: { steps } })
  }
  log.info({ sandboxId: owned.id, exitCode }, 'sandbox terminated')
  const ending = exitCode === null ? null : withReason(owned.sandbox, exitCode)
  return {
    id: owned.id,
    status: statusOf(ending ?? { exitCode: 0, reason: null }),
    reason: ending?.reason ?? null,
    exitCode,
    steps,
    released: { sandbox: true, keptVolume: owned.volume ?? null }
  }
}

/** @returns the exit code; null when Modal has forgotten the sandbox by the time it is asked. */
async function end ({ sandbox }: OwnedSandbox): Promise<number | null> {
  const ended = whenEnded(sandbox)
  ended.catch(() => {})
  const terminate = async () => {
    await sandbox.terminate()
    // What was asked before may have failed meanwhile.
    return await ended.catch(() => sandbox.wait())
  }
  return await callModal('terminate', terminateMs, terminate, { notFound: 'SANDBOX_NOT_FOUND' }).catch((error: AppError) => {
    if (error.code !== 'SANDBOX_NOT_FOUND') throw error
    return null
  })
}

/** One that cannot be asked may well run. */
async function mayRun ({ sandbox }: OwnedSandbox): Promise<boolean> {
  return await endingSinceStart(sandbox) === null
}

function notStored (cause: AppError, steps: TerminateStep[]): AppError {
  return new AppError('WORKSPACE_NOT_STORED', {
    message: `The workspace could not be stored, so the sandbox was kept: ${cause.message}`,
    step: 'sync',
    cause,
    details: { steps },
    headers: { 'retry-after': '30' }
  })
}
