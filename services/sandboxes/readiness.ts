import type { ModalClient } from 'modal'
import { AppError } from '../../errors.js'
import { callModal } from '../modal/call.js'
import { unlessMissing } from '../modal/errors.js'

const freshMs = 5000
const deadlineMs = 3000

/** Whether Modal answers this service; asked at most every five seconds, however many probes come. */
export class Readiness {
  readonly #client: ModalClient
  #asked = -Infinity
  #answer: Promise<unknown> = Promise.resolve()

  constructor (client: ModalClient) {
    this.#client = client
  }

  /** @throws {AppError} MODAL_UNAVAILABLE, with the reason as its cause. */
  async check (): Promise<void> {
    if (performance.now() - this.#asked > freshMs) {
      this.#asked = performance.now()
      this.#answer = callModal('readiness', deadlineMs, () => this.#ask())
      this.#answer.catch(() => {})
    }
    await this.#answer.catch((cause: unknown) => {
      throw new AppError('MODAL_UNAVAILABLE', { cause, headers: { 'retry-after': '5' } })
    })
  }

  /** Looks up an app that does not exist: the cheapest call that needs valid credentials. */
  async #ask (): Promise<void> {
    await unlessMissing(this.#client.apps.fromName('readiness.check'))
  }
}
