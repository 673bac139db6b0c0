import { AppError } from '../../errors.js'
import { modalError, type ErrorMeanings } from './modal-errors.js'

/** The part of a pino logger that services use. */
export interface Log {
  info (fields: object, message: string): void
  warn (fields: object, message: string): void
  error (fields: object, message: string): void
}

export interface StepEvent {
  step: string
  status: 'started' | 'done' | 'failed'
  durationMs?: number
}

export interface StepOptions<T> extends ErrorMeanings {
  timeoutMs: number
  /** Resource ids for the log (10.5). */
  ids?: (result: T) => Record<string, unknown>
}

/** Waits no longer than `timeoutMs`: the SDK has no deadlines of its own, and a hung Modal must not hang a request. */
export async function within<T> (timeoutMs: number, work: () => Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => reject(new AppError('MODAL_TIMEOUT')), timeoutMs)
  })
  try {
    return await Promise.race([work(), late])
  } finally {
    clearTimeout(timer)
  }
}

/** One call of the SDK that has a name in errors. @throws {AppError} with that step and the SDK's error as cause. */
export async function call<T> (
  step: string, timeoutMs: number, work: () => Promise<T>, meanings?: ErrorMeanings
): Promise<T> {
  try {
    return await within(timeoutMs, work)
  } catch (cause) {
    throw modalError(cause, step, meanings)
  }
}

/** Named, timed and logged steps of one longer operation (1.6, 10.3). */
export class Steps {
  readonly #log: Log
  readonly #onStep: (event: StepEvent) => void

  constructor (log: Log, onStep: (event: StepEvent) => void) {
    this.#log = log
    this.#onStep = onStep
  }

  async run<T> (step: string, work: () => Promise<T>, { timeoutMs, ids, ...meanings }: StepOptions<T>): Promise<T> {
    const started = performance.now()
    const durationMs = () => Math.round(performance.now() - started)
    this.#onStep({ step, status: 'started' })
    try {
      const result = await call(step, timeoutMs, work, meanings)
      this.#log.info({ step, durationMs: durationMs(), ...ids?.(result) }, 'step done')
      this.#onStep({ step, status: 'done', durationMs: durationMs() })
      return result
    } catch (error) {
      this.#onStep({ step, status: 'failed', durationMs: durationMs() })
      throw error
    }
  }
}
