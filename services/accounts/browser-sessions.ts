import { hkdfSync } from 'node:crypto'
import { EncryptJWT, jwtDecrypt } from 'jose'
import { AppError } from '../../errors.js'
import { randomId } from '../../lib/ids.js'
import type { Account } from '../../schemas/account.js'
import type { AccountRegistry, Identity } from './registry.js'

/** No longer than Modal remembers that a session has ended. */
export const sessionSeconds = 7 * 24 * 60 * 60

/** Where it is recorded, for every replica, which sessions have ended. */
export interface EndedSessions {
  add (accountId: string, sessionId: string): Promise<void>
  has (accountId: string, sessionId: string): Promise<boolean>
}

interface BrowserSessionsOptions {
  accounts: AccountRegistry
  ended: EndedSessions
  /** What all replicas share and nobody else knows. */
  secret: string
  deployment: string
}

interface Session { id: string, accountId: string, key: string | undefined }

/**
 * Signed-in browsers. A session is an encrypted token, so any replica can read it and no client can; it does not hold
 * the credential it was made from. It ends after a week, with the token it was made from, when the API key is removed
 * from `ACCOUNTS`, and when the browser signs out.
 */
export class BrowserSessions {
  readonly #accounts: AccountRegistry
  readonly #ended: EndedSessions
  readonly #key: Uint8Array

  constructor ({ accounts, ended, secret, deployment }: BrowserSessionsOptions) {
    this.#accounts = accounts
    this.#ended = ended
    this.#key = new Uint8Array(hkdfSync('sha256', secret, '', `session of ${deployment}`, 32))
  }

  /** A new session as a token. */
  async start ({ account, key, expiresAt = Infinity }: Identity): Promise<string> {
    const now = Math.floor(Date.now() / 1000)
    return await new EncryptJWT({ ...(key !== undefined && { key }) })
      .setProtectedHeader({ alg: 'dir', enc: 'A256GCM' })
      .setSubject(account.id)
      .setJti(randomId('session'))
      .setIssuedAt(now)
      .setExpirationTime(Math.min(now + sessionSeconds, expiresAt))
      .encrypt(this.#key)
  }

  /** @throws {AppError} UNAUTHENTICATED, FORBIDDEN; MODAL_UNAVAILABLE and so on: nobody knows whether it has ended. */
  async accountOf (token: string): Promise<Account> {
    const { id, accountId, key } = await this.#read(token)
    const account = this.#accounts.resume(accountId, key)
    if (await this.#ended.has(accountId, id)) throw over()
    return account
  }

  /** Ends a session on every replica. A token that is no session, or has expired, needs no end. */
  async end (token: string): Promise<void> {
    const session = await this.#read(token).catch(() => undefined)
    if (session !== undefined) await this.#ended.add(session.accountId, session.id)
  }

  async #read (token: string): Promise<Session> {
    try {
      const { payload } = await jwtDecrypt(token, this.#key, {
        keyManagementAlgorithms: ['dir'], contentEncryptionAlgorithms: ['A256GCM'], requiredClaims: ['sub', 'jti', 'exp']
      })
      return { id: payload.jti!, accountId: payload.sub!, key: payload['key'] as string | undefined }
    } catch (cause) {
      throw over(cause)
    }
  }
}

function over (cause?: unknown): AppError {
  return new AppError('UNAUTHENTICATED', { message: 'Your session has ended.', hint: 'Sign in again.', cause })
}
