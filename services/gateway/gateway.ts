import { withDeadline } from '../modal/call.js'
import { Budgets } from './budgets.js'
import { GatewayError, toGatewayError } from './errors.js'
import { Exchange, publicUsage, Session, type Charges, type GatewayOptions } from './exchange.js'
import { calls, requestHeaders, responseHeaders, type Provider } from './provider.js'
import type { RunGrant } from './token.js'

const waitMs = 2 * 60_000
/** A sandbox is tagged with its run while Claude starts. */
const tagMs = 30_000
/** Enough for Claude with all its subagents; more is somebody else's use of the token. */
const requestsPerRun = 64
const keptRuns = 10_000
/** Bodies are held until they are answered: so many bytes of one account, and of all. */
const heldBytes = { account: 96 * 1024 * 1024, all: 384 * 1024 * 1024 }

/**
 * Stands between the sandboxes and the model: it lets in whoever has the token of a run that goes on, keeps the real
 * key to itself, counts what the API answers, and refuses what no budget is left for.
 */
export class Gateway {
  readonly #options: GatewayOptions
  readonly #budgets = new Budgets(waitMs)
  readonly #sessions = new Map<string, Session>()
  readonly #held = new Map<string, number>()
  #heldBytes = 0

  constructor (options: GatewayOptions) {
    this.#options = options
  }

  get provider (): Provider {
    return this.#options.provider
  }

  /** What may be called, relative to the gateway's own address. */
  get calls (): ReadonlyArray<{ method: string, path: string }> {
    return calls[this.#options.provider.kind]
  }

  /** The key, which must be in nothing that a client gets to see. */
  get secrets (): string[] {
    return [this.#options.provider.apiKey]
  }

  /** Lets a run in. @returns its token. */
  async open (grant: RunGrant): Promise<string> {
    const token = await this.#options.tokens.sign(grant)
    this.#keep(new Session(grant, true))
    return token
  }

  /**
   * The run is over: nothing comes in any more, and what is under way is cut.
   * @returns undefined for another replica's run.
   */
  close (runId: string): Charges | undefined {
    const session = this.#sessions.get(runId)
    if (session === undefined || !session.own) return
    session.end()
    const { costUsd, usage, exceededBudget } = session
    return { costUsd: Math.round(costUsd * 1e9) / 1e9, usage: publicUsage(usage), exceededBudget }
  }

  /**
   * Another replica's run is over, as this one has proven.
   * @returns false for a run of this replica, which learns of its end by itself.
   */
  closeOther (runId: string): boolean {
    const session = this.#sessions.get(runId)
    if (session?.own === true) return false
    session?.end()
    return true
  }

  /** Cuts all that is under way, so that it is charged before the service ends. */
  abort (): void {
    for (const { exchanges } of this.#sessions.values()) for (const exchange of exchanges) exchange.abort()
  }

  /**
   * Lets a request in by its token, before its body is read.
   * @throws {GatewayError} authentication_error, overloaded_error, request_too_large.
   */
  async admit (credential: string | undefined, bodyBytes: number): Promise<Exchange> {
    const grant = await this.#options.tokens.verify(credential)
    const session = this.#sessions.get(grant.runId) ?? this.#keep(new Session(grant, false))
    try {
      await this.#requireRunning(session)
      if (session.exchanges.size >= requestsPerRun) {
        throw new GatewayError('overloaded_error', `A run may send ${requestsPerRun} requests at a time.`)
      }
      const release = this.#holdBytes(grant.accountId, bodyBytes)
      return new Exchange(this.#options, this.#budgets, session, release)
    } catch (error) {
      if (error instanceof GatewayError) error.ids = session.ids
      throw error
    }
  }

  /** An error as the Messages API would tell it. */
  refusal (error: unknown, ids: object): GatewayError {
    const refusal = toGatewayError(error)
    const { type, statusCode, cause } = refusal
    const log = statusCode >= 500 ? 'warn' : 'info'
    // Not as `err`: what the provider has sent may be part of it.
    const reason = (cause as NodeJS.ErrnoException | undefined)?.code ?? refusal.message
    this.#options.log[log]({ ...ids, ...refusal.ids, type, statusCode, reason }, 'model request refused')
    return refusal
  }

  /** A request's headers, with the key in place of the token. */
  requestHeaders<T> (headers: Readonly<Record<string, T>>): Record<string, T | string> {
    return requestHeaders(this.#options.provider, headers)
  }

  /** An answer's headers. */
  responseHeaders<T> (headers: Readonly<Record<string, T>>): Record<string, T> {
    return responseHeaders(this.#options.provider, headers)
  }

  async #requireRunning (session: Session): Promise<void> {
    const { grant } = session
    const state = await session.state(async () => {
      return await withDeadline(10_000, () => this.#options.runState(grant))
    }).catch((cause: unknown) => {
      this.#options.log.warn({ ...session.ids, err: cause }, 'model gateway cannot ask Modal about a run')
      throw new GatewayError('overloaded_error', 'It cannot be told whether the run goes on.', { cause })
    })
    if (state === 'running') return
    if (state === 'unknown' && Date.now() < grant.issuedAt * 1000 + tagMs) {
      throw new GatewayError('overloaded_error', 'The run is being started.')
    }
    throw new GatewayError('authentication_error', 'The run that this token is for has ended.')
  }

  #holdBytes (accountId: string, bytes: number): () => void {
    const held = this.#held.get(accountId) ?? 0
    if (held + bytes > heldBytes.account || this.#heldBytes + bytes > heldBytes.all) {
      throw new GatewayError('overloaded_error', 'Too many large requests are under way.')
    }
    this.#held.set(accountId, held + bytes)
    this.#heldBytes += bytes
    return () => {
      this.#heldBytes -= bytes
      const left = this.#held.get(accountId)! - bytes
      if (left === 0) this.#held.delete(accountId)
      else this.#held.set(accountId, left)
    }
  }

  #keep (session: Session): Session {
    const now = Date.now() / 1000
    if (this.#sessions.size >= keptRuns) {
      for (const [id, { grant }] of this.#sessions) if (grant.expiresAt < now) this.#sessions.delete(id)
    }
    this.#sessions.set(session.grant.runId, session)
    return session
  }
}
