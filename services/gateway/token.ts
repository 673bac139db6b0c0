import { hkdfSync } from 'node:crypto'
import { errors, jwtVerify, SignJWT } from 'jose'
import { digest } from '../../lib/ids.js'
import { runTokenPrefix } from '../../lib/redact.js'
import { GatewayError } from './errors.js'

/** What a token allows: the requests of one run, until its end or its time limit, within its budgets. */
export interface RunGrant {
  accountId: string
  sandboxId: string
  runId: string
  /** Seconds since the epoch. */
  issuedAt: number
  expiresAt: number
  maxBudgetUsd?: number | undefined
  monthlyBudgetUsd?: number | undefined
}

const issuer = 'modal-sandbox'
const audience = 'model-gateway'
const keptTokens = 10_000

/** Signs and verifies tokens with a key that all replicas derive from the same secrets: no state is shared. */
export class RunTokens {
  readonly #key: Uint8Array
  /** By digest: to verify a signature takes a third of a millisecond, and a run sends the same token every time. */
  readonly #verified = new Map<string, RunGrant>()

  /** @param secrets what all replicas know, and nobody else. */
  constructor (secrets: readonly string[]) {
    const material = JSON.stringify(secrets)
    this.#key = new Uint8Array(hkdfSync('sha256', material, issuer, 'run token of the model gateway, version 1', 32))
  }

  async sign ({ accountId, sandboxId, runId, issuedAt, expiresAt, ...budgets }: RunGrant): Promise<string> {
    const token = await new SignJWT({ account: accountId, sandbox: sandboxId, ...budgets })
      .setProtectedHeader({ alg: 'HS256' })
      .setIssuer(issuer).setAudience(audience).setSubject(runId).setIssuedAt(issuedAt).setExpirationTime(expiresAt)
      .sign(this.#key)
    return runTokenPrefix + token
  }

  /** @throws {GatewayError} authentication_error for any token that is not ours, or whose time is over. */
  async verify (credential: string | undefined): Promise<RunGrant> {
    if (!credential?.startsWith(runTokenPrefix)) {
      throw new GatewayError('authentication_error', 'This is not a token of a run.')
    }
    const id = digest(credential)
    const known = this.#verified.get(id)
    if (known !== undefined && known.expiresAt > Date.now() / 1000) return known
    const grant = await this.#verify(credential.slice(runTokenPrefix.length))
    if (this.#verified.size >= keptTokens) this.#verified.delete(this.#verified.keys().next().value!)
    this.#verified.set(id, grant)
    return grant
  }

  async #verify (token: string): Promise<RunGrant> {
    const options = { issuer, audience, algorithms: ['HS256'], requiredClaims: ['exp', 'iat', 'sub'] }
    const { payload } = await jwtVerify(token, this.#key, options)
      .catch((cause: unknown) => {
        const over = cause instanceof errors.JWTExpired
        const message = over ? `The time of ${cause.payload.sub} is over.` : 'This token is not valid.'
        const error = new GatewayError('authentication_error', message, { cause })
        if (over) error.ids = { runId: cause.payload.sub }
        throw error
      })
    const { account, sandbox, sub, iat, exp, maxBudgetUsd, monthlyBudgetUsd } = payload
    return {
      accountId: String(account),
      sandboxId: String(sandbox),
      runId: sub!,
      issuedAt: iat!,
      expiresAt: exp!,
      ...(typeof maxBudgetUsd === 'number' && { maxBudgetUsd }),
      ...(typeof monthlyBudgetUsd === 'number' && { monthlyBudgetUsd })
    }
  }
}
