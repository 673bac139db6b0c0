import { AppError } from '../../errors.js'
import { modalError, type ErrorMeanings } from './errors.js'

/** The deadline of a call that only asks for something or changes a record, in milliseconds. */
export const lookupMs = 30_000

/**
 * Waits no longer than `timeoutMs`: the SDK has no deadlines of its own, and a hung Modal must not hang a request.
 * @param onLate gets a result that comes after all.
 * @throws {AppError} MODAL_TIMEOUT; the work itself goes on.
 */
export async function withDeadline<T> (
  timeoutMs: number, work: () => Promise<T>, onLate?: (result: T) => void
): Promise<T> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => reject(new AppError('MODAL_TIMEOUT')), timeoutMs)
  })
  try {
    const working = work()
    late.catch(() => working.then(onLate, () => {}))
    return await Promise.race([working, late])
  } finally {
    clearTimeout(timer)
  }
}

/**
 * One call of the SDK that has a name in errors. @param onLate as in {@link withDeadline}.
 * @throws {AppError} with that step and the SDK's error as cause.
 */
export async function callModal<T> (
  step: string, timeoutMs: number, work: () => Promise<T>, meanings?: ErrorMeanings, onLate?: (result: T) => void
): Promise<T> {
  try {
    return await withDeadline(timeoutMs, work, onLate)
  } catch (cause) {
    throw modalError(cause, step, meanings)
  }
}
