import type { Log } from '../../lib/log.js'
import type { CreationStep } from '../../schemas/sandbox.js'
import { callModal } from '../modal/call.js'
import type { ErrorMeanings } from '../modal/errors.js'

interface StepOptions<T> extends ErrorMeanings {
  timeoutMs: number
  /** Resource ids for the log (10.5). */
  ids?: (result: T) => Record<string, unknown>
  /** Gets a result that comes after the deadline. */
  onLate?: (result: T) => void
}

/** Named, timed and logged steps of one longer operation (1.6, 10.3). */
export class Steps {
  readonly #log: Log
  readonly #onStep: (event: CreationStep) => void

  constructor (log: Log, onStep: (event: CreationStep) => void) {
    this.#log = log
    this.#onStep = onStep
  }

  async run<T> (
    step: string, work: () => Promise<T>, { timeoutMs, ids, onLate, ...meanings }: StepOptions<T>
  ): Promise<T> {
    const started = performance.now()
    const durationMs = () => Math.round(performance.now() - started)
    this.#onStep({ step, status: 'started' })
    try {
      const result = await callModal(step, timeoutMs, work, meanings, onLate)
      this.#log.info({ step, durationMs: durationMs(), ...ids?.(result) }, 'step done')
      this.#onStep({ step, status: 'done', durationMs: durationMs() })
      return result
    } catch (error) {
      this.#onStep({ step, status: 'failed', durationMs: durationMs() })
      throw error
    }
  }
}
