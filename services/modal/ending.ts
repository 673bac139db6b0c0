import type { Sandbox } from 'modal'
import type { ClientMiddleware } from 'nice-grpc-common'
import { AppError } from '../../errors.js'
import type { EndReason } from '../../schemas/sandbox.js'
import { callModal, lookupMs } from './call.js'
import type { ErrorMeanings } from './errors.js'

/**
 * How a sandbox has ended: the exit code as the SDK tells it, if Modal still knows the sandbox; no reason where Modal
 * tells none.
 */
export interface Ending { exitCode: number | null, reason: EndReason | null }

/** GenericResult.status of Modal's protocol. */
const reasons: Record<number, EndReason> = {
  1: 'exited',
  2: 'failed',
  3: 'terminated',
  4: 'timeout',
  5: 'start_failed',
  6: 'modal_failed',
  7: 'idle_timeout',
  8: 'out_of_memory'
}

/** Where the reason is worth a sentence. */
const messages: Partial<Record<EndReason, string>> = {
  start_failed: 'The sandbox could not start.',
  modal_failed: 'The sandbox has ended because of a failure at Modal.',
  timeout: 'The sandbox has ended: its lifetime was over.',
  idle_timeout: 'The sandbox has ended: nothing happened in it for its idle timeout.',
  out_of_memory: 'The sandbox has ended: its memory was used up.'
}

interface WaitRequest { sandboxId: string }
interface WaitResponse { result?: { status: number } }

const waitMethod = /\/SandboxWait(?:V2)?$/
/** An end never changes. */
const known = new Map<string, EndReason>()
const maxKnown = 1000

/**
 * gRPC middleware: Modal says how a sandbox has ended, but the SDK only hands out a number (modal 0.11.1, `poll`,
 * `wait`), which is the same for several ends.
 */
export const tapEndings: ClientMiddleware = async function * (call, options) {
  const response = yield * call.next(call.request, options)
  if (call.responseStream || !waitMethod.test(call.method.path)) return response
  const reason = reasons[(response as WaitResponse | undefined)?.result?.status ?? 0]
  if (reason !== undefined) {
    known.set((call.request as WaitRequest).sandboxId, reason)
    if (known.size > maxKnown) known.delete(known.keys().next().value!)
  }
  return response
}

/** How a sandbox has ended; null while it runs. @throws {AppError} MODAL_*, or as `meanings` say. */
export async function endingOf (sandbox: Sandbox, meanings?: ErrorMeanings): Promise<Ending | null> {
  const exitCode = await callModal('poll', lookupMs, () => sandbox.poll(), meanings)
  return exitCode === null ? null : withReason(sandbox, exitCode)
}

/** What Modal's answers mean of a sandbox that has run before. */
export const gone = { notFound: 'SANDBOX_NOT_FOUND', invalid: 'SANDBOX_NOT_FOUND' } as const

/**
 * How a sandbox that has run before has ended: Modal may have forgotten it since. Null while it runs, and when Modal
 * can't be asked at the moment, which says nothing about the sandbox.
 */
export async function endingSinceStart (sandbox: Sandbox): Promise<Ending | null> {
  return await endingOf(sandbox, gone).catch((error: AppError) => {
    return error.code === 'SANDBOX_NOT_FOUND' ? withReason(sandbox, null) : null
  })
}

interface Waiting { ended: Promise<number>, listeners: Set<() => void> }

/** Modal holds the question, and one is enough for all who wait; the SDK asks again every ten seconds until the end. */
const waiting = new Map<Sandbox, Waiting>()

function waitFor (sandbox: Sandbox): Waiting {
  const known = waiting.get(sandbox)
  if (known !== undefined) return known
  const listeners = new Set<() => void>()
  const ended = sandbox.wait().finally(() => { waiting.delete(sandbox) })
  ended.then(() => { for (const tell of listeners) tell() }, () => {})
  waiting.set(sandbox, { ended, listeners })
  return { ended, listeners }
}

/**
 * The exit code of a sandbox, when it has ended. To wait for it before the end is asked for saves a round trip.
 * @throws the SDK's error when Modal can't be asked meanwhile.
 */
export async function whenEnded (sandbox: Sandbox): Promise<number> {
  return await waitFor(sandbox).ended
}

/**
 * Calls back once, when a sandbox has ended; never, if Modal can't be asked meanwhile: who waits looks again in time.
 * @returns a function that keeps it from calling back.
 */
export function onEnded (sandbox: Sandbox, listener: () => void): () => void {
  const { listeners } = waitFor(sandbox)
  listeners.add(listener)
  return () => { listeners.delete(listener) }
}

/**
 * Work that needs a running sandbox, while Modal is asked whether it runs: one after the other would be a round trip
 * more. Work that succeeds proves that it does; what fails in a sandbox that has ended may fail in many ways, and late.
 * @param onLate gets the result of work that succeeds although Modal has said that the sandbox has ended.
 * @throws {AppError} SANDBOX_ENDED, SANDBOX_NOT_FOUND; otherwise what the work throws.
 */
export async function whileRunning<T> (sandbox: Sandbox, work: Promise<T>, onLate: (result: T) => void): Promise<T> {
  const look = endingOf(sandbox, gone).then(
    (ending) => ending === null ? undefined : sandboxEnded(ending),
    (error: AppError) => error.code === 'SANDBOX_NOT_FOUND' ? error : undefined)
  let isOver = false
  const ended = look.then(async (error) => {
    if (error === undefined) return await work
    isOver = true
    throw error
  })
  work.then((result) => { if (isOver) onLate(result) }, () => {})
  return await Promise.race([work, ended]).catch(async (error: unknown) => { throw await look ?? error })
}

/** @param exitCode that the SDK has just told. */
export function withReason ({ sandboxId }: Sandbox, exitCode: number | null): Ending {
  return { exitCode, reason: known.get(sandboxId) ?? null }
}

export function sandboxEnded (ending: Ending, options: { cause?: unknown, step?: string } = {}): AppError {
  const message = ending.reason === null ? undefined : messages[ending.reason]
  return new AppError('SANDBOX_ENDED', { ...options, ...message !== undefined && { message }, details: { ...ending } })
}
