import { timingSafeEqual } from 'node:crypto'
import { AppError } from '../../errors.js'
import { digest, randomId } from '../../lib/ids.js'

/** The link that local mode prints at its start. It works once, for it stays in a terminal, a log or a history. */
export class SignInLink {
  readonly code = randomId('code')
  readonly #apiKey: string
  #used = false

  constructor (apiKey: string) {
    this.#apiKey = apiKey
  }

  /**
   * The API key that the code stands for; undefined when this is another credential.
   * @throws {AppError} UNAUTHENTICATED: the code was used before.
   */
  redeem (credential: string): string | undefined {
    if (!timingSafeEqual(Buffer.from(digest(credential)), Buffer.from(digest(this.code)))) return undefined
    if (this.#used) {
      throw new AppError('UNAUTHENTICATED', {
        message: 'This sign-in link has been used.',
        hint: 'Sign in with the API key, or restart the service: it prints a new link at each start.'
      })
    }
    this.#used = true
    return this.#apiKey
  }
}
