import { errors, jwtVerify, type JWTPayload, type JWTVerifyGetKey } from 'jose'
import { Value } from '@sinclair/typebox/value'
import { AppError } from '../../errors.js'
import { digest } from '../../lib/ids.js'
import { Account } from '../../schemas/account.js'
import { appName } from '../modal/names.js'
import { remoteKeys } from './remote-keys.js'

interface TokenSettings {
  secret: string | undefined
  jwksUrl: string | undefined
  issuer: string | undefined
  audience: string | undefined
  /** The claim that names the account. */
  accountClaim: string
}

/** Whom a credential stands for, and what a session made from it has to remember. */
export interface Identity {
  account: Account
  /** The digest of the API key, as in `ACCOUNTS`; undefined for a token. */
  key?: string
  /** When a token expires, in seconds since the epoch. */
  expiresAt?: number
}

/** Who may use the service: API keys (only their digests are known here) and tokens of an identity provider. */
export class AccountRegistry {
  readonly #byId: Map<string, Account>
  readonly #byKey: Map<string, Account>
  readonly #tokens: TokenSettings
  readonly #verificationKey: Uint8Array | JWTVerifyGetKey | undefined
  readonly #open: boolean
  readonly #owners: ReadonlySet<string>

  /** Without listed accounts every valid token's subject is an account of its own, with default limits. */
  constructor (accounts: readonly Account[] | undefined, tokens: TokenSettings) {
    const listed = accounts ?? []
    this.#open = accounts === undefined
    this.#byId = new Map(listed.map((account) => [account.id, account]))
    this.#byKey = new Map(listed.flatMap((account) => account.apiKeys.map((key) => [key, account] as const)))
    this.#owners = new Set(listed.map(({ id }) => appName(id)))
    this.#tokens = tokens
    if (tokens.secret !== undefined) this.#verificationKey = new TextEncoder().encode(tokens.secret)
    if (tokens.jwksUrl !== undefined) this.#verificationKey = remoteKeys(tokens.jwksUrl)
  }

  /**
   * The account a credential (API key or JWT) stands for. Digests are compared, so a guess's timing tells nothing.
   * @throws {AppError} UNAUTHENTICATED, FORBIDDEN (a valid token of an unknown account), IDENTITY_UNAVAILABLE.
   */
  async authenticate (credential: string): Promise<Account> {
    return (await this.identify(credential)).account
  }

  /** @throws {AppError} as {@link authenticate} */
  async identify (credential: string): Promise<Identity> {
    const key = `sha256:${digest(credential)}`
    const account = this.#byKey.get(key)
    if (account !== undefined) return { account, key }
    if (this.#verificationKey === undefined || credential.split('.').length !== 3) {
      throw new AppError('UNAUTHENTICATED', { message: 'The API key is not valid.' })
    }
    const claims = await this.#verify(credential)
    const subject = claims[this.#tokens.accountClaim]
    if (typeof subject !== 'string' || subject === '' || subject === '*' || subject.length > 200) {
      throw new AppError('UNAUTHENTICATED', { message: 'The token does not name an account.' })
    }
    return { account: this.#accountOf(subject), expiresAt: claims.exp! }
  }

  /**
   * The account of a session that was made from an {@link Identity}, as long as what it was made from is accepted.
   * @throws {AppError} UNAUTHENTICATED, FORBIDDEN
   */
  resume (id: string, key: string | undefined): Account {
    if (key === undefined && this.#verificationKey !== undefined) return this.#accountOf(id)
    const account = key === undefined ? undefined : this.#byKey.get(key)
    if (account?.id !== id) throw new AppError('UNAUTHENTICATED', { message: 'The API key of this session is no longer valid.' })
    return account
  }

  /** Whether the owner of a sandbox (an app name) may still have an account. */
  mayOwn (owner: string): boolean {
    return this.#open || this.#byId.has('*') || this.#owners.has(owner)
  }

  #accountOf (id: string): Account {
    const listed = this.#byId.get(id)
    if (listed !== undefined) return listed
    const template = this.#byId.get('*') ?? (this.#open ? {} : undefined)
    if (template === undefined) throw new AppError('FORBIDDEN', { message: 'Your account is not set up here.' })
    return Value.Default(Account, { ...structuredClone(template), id }) as Account
  }

  async #verify (token: string): Promise<JWTPayload> {
    const { secret, issuer, audience } = this.#tokens
    const options = {
      algorithms: secret !== undefined ? ['HS256'] : ['RS256', 'PS256', 'ES256', 'EdDSA'],
      requiredClaims: ['exp'],
      ...(issuer !== undefined && { issuer }),
      ...(audience !== undefined && { audience })
    }
    try {
      const key = this.#verificationKey
      return (await (typeof key === 'function' ? jwtVerify(token, key, options) : jwtVerify(token, key!, options))).payload
    } catch (cause) {
      if (cause instanceof AppError) throw cause
      // What is not about the token is about the keys: jose could not use one that the identity provider published.
      if (!(cause instanceof errors.JOSEError)) throw new AppError('IDENTITY_UNAVAILABLE', { cause })
      throw new AppError('UNAUTHENTICATED', { message: 'The token is not valid or has expired.', cause })
    }
  }
}
