import { NotFoundError, type ModalClient } from 'modal'
import { AppError } from '../../errors.js'
import { callModal } from '../modal/call.js'

const freshMs = 5000
const patienceMs = 3000

/** Whether Modal answers this service. It is asked at most every five seconds, however many want to know. */
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
      this.#answer = callModal('readiness', patienceMs, () => this.#ask())
      this.#answer.catch(() => {})
    }
    await this.#answer.catch((cause: unknown) => {
      throw new AppError('MODAL_UNAVAILABLE', { cause, headers: { 'retry-after': '5' } })
    })
  }

  /** An app that there is not: the cheapest question that needs working credentials. */
  async #ask (): Promise<void> {
    await this.#client.apps.fromName('readiness.check').catch((error: unknown) => {
      if (!(error instanceof NotFoundError)) throw error
    })
  }
}
