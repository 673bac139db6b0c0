import { Transform, type TransformCallback } from 'node:stream'
import { withDeadline } from '../modal/call.js'
import type { Log } from '../../lib/log.js'
import { secretsOf } from '../../lib/redact.js'
import { BudgetExceeded, Budgets, type Budget, type Reservation } from './budgets.js'
import { GatewayError } from './errors.js'
import type { Prices } from './prices.js'
import { calls, requestHeaders, resolveCall, responseHeaders, type Call, type Provider } from './provider.js'
import type { SpendingLedger } from './spending.js'
import type { RunGrant, RunTokens } from './token.js'
import { addUsage, noUsage, UsageReader, type Usage } from './usage.js'

export interface GatewayOptions {
  provider: Provider
  tokens: RunTokens
  prices: Prices
  ledger: SpendingLedger
  /**
   * Whether a run that another replica has started goes on, by Modal's word: its sandbox is the owner's, runs, and has
   * no later run.
   */
  isLatestRun: (grant: RunGrant) => Promise<boolean>
  log: Log
}

/** What a run has cost, by the API's own answers. */
export interface Charges {
  costUsd: number
  usage: Record<string, unknown>
  /** The budget that a request was refused for. */
  exceededBudget: Budget['name'] | null
}

/** How long another replica's word about a run is taken for true. */
const cachedMs = 3000
/** A sandbox is tagged with its run while Claude starts. */
const tagMs = 30_000
const waitMs = 2 * 60_000
/** Enough for Claude with all its subagents; more is somebody else's use of the token. */
const requestsPerRun = 64
const keptRuns = 10_000
/** Of a body that has no number of tokens: more than any model answers with. */
const mostTokens = 128_000
/** Bodies are held until they are answered: so many bytes of one account, and of all. */
const heldBytes = { account: 96 * 1024 * 1024, all: 384 * 1024 * 1024 }

/** A run as the gateway knows it. */
class Session {
  readonly grant: RunGrant
  /** Started by this replica, which learns of its end by itself. */
  readonly own: boolean
  ended = false
  usage: Usage = noUsage
  costUsd = 0
  exceededBudget: Budget['name'] | null = null
  readonly exchanges = new Set<Exchange>()
  #known: { value: boolean, at: number } | undefined
  #asking: Promise<boolean> | undefined

  constructor (grant: RunGrant, own: boolean) {
    this.grant = grant
    this.own = own
  }

  /** Asks at most every {@link cachedMs}. */
  async isLatest (ask: () => Promise<boolean>): Promise<boolean> {
    if (this.#known !== undefined && performance.now() - this.#known.at < cachedMs) return this.#known.value
    this.#asking ??= ask().then((value) => {
      this.#known = { value, at: performance.now() }
      return value
    }).finally(() => { this.#asking = undefined })
    return await this.#asking
  }
}

/**
 * Stands between the sandboxes and the model: it lets in whoever has the token of a run that goes on, keeps the real key
 * to itself, counts what the API answers, and refuses what no budget is left for.
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
    return secretsOf({ ANTHROPIC_API_KEY: this.#options.provider.apiKey })
  }

  /** Lets a run in. @returns its token. */
  async open (grant: RunGrant): Promise<string> {
    const token = await this.#options.tokens.sign(grant)
    this.#keep(new Session(grant, true))
    return token
  }

  /** The run is over: nothing comes in any more, and what is under way is cut. @returns undefined for another replica's run. */
  close (runId: string): Charges | undefined {
    const session = this.#sessions.get(runId)
    if (session === undefined || !session.own) return
    session.ended = true
    for (const exchange of session.exchanges) exchange.abort()
    const { costUsd, usage, exceededBudget } = session
    return { costUsd: Math.round(costUsd * 1e9) / 1e9, usage: publicUsage(usage), exceededBudget }
  }

  /**
   * Lets a request in by its token, before its body is read.
   * @throws {GatewayError} authentication_error, overloaded_error, request_too_large.
   */
  async admit (credential: string | undefined, bodyBytes: number): Promise<Exchange> {
    const grant = await this.#options.tokens.verify(credential)
    const session = this.#sessions.get(grant.runId) ?? this.#keep(new Session(grant, false))
    await this.#requireRunning(session)
    if (session.exchanges.size >= requestsPerRun) {
      throw new GatewayError('overloaded_error', `A run may send ${requestsPerRun} requests at a time.`)
    }
    const release = this.#holdBytes(grant.accountId, bodyBytes)
    return new Exchange(this.#options, this.#budgets, session, release)
  }

  /** An error as the Messages API would tell it. */
  refusal (error: unknown, ids: object): GatewayError {
    const refusal = toGatewayError(error)
    const { type, statusCode, cause } = refusal
    const log = statusCode >= 500 ? 'warn' : 'info'
    // Not as `err`: what the provider has sent may be part of it.
    const reason = (cause as NodeJS.ErrnoException | undefined)?.code ?? refusal.message
    this.#options.log[log]({ ...ids, type, statusCode, reason }, 'model request refused')
    return refusal
  }

  async #requireRunning (session: Session): Promise<void> {
    const { grant, own } = session
    if (!session.ended && own) return
    const { runId, sandboxId, accountId } = grant
    const latest = !session.ended && await session.isLatest(async () => {
      return await withDeadline(10_000, () => this.#options.isLatestRun(grant))
    }).catch((cause: unknown) => {
      this.#options.log.warn({ runId, sandboxId, accountId, err: cause }, 'model gateway cannot ask Modal about a run')
      throw new GatewayError('overloaded_error', 'It cannot be told whether the run goes on.', { cause })
    })
    if (latest) return
    if (!session.ended && Date.now() < grant.issuedAt * 1000 + tagMs) {
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

/** One request and its answer. */
export class Exchange {
  readonly #options: GatewayOptions
  readonly #budgets: Budgets
  readonly #session: Session
  readonly #releaseBytes: () => void
  readonly #over = new AbortController()
  readonly #startedAt = performance.now()
  #reservation: Reservation | undefined
  #reader: UsageReader | undefined
  #call: Call | undefined
  #model = ''
  #body: Buffer | undefined
  #sent = false
  #finished = false
  statusCode = 0

  constructor (options: GatewayOptions, budgets: Budgets, session: Session, releaseBytes: () => void) {
    this.#options = options
    this.#budgets = budgets
    this.#session = session
    this.#releaseBytes = releaseBytes
    session.exchanges.add(this)
  }

  /** Aborted when nobody wants the answer any more. */
  get signal (): AbortSignal {
    return this.#over.signal
  }

  get ids () {
    const { accountId, sandboxId, runId } = this.#session.grant
    return { accountId, sandboxId, runId }
  }

  /**
   * Where the request goes, once there is a budget for it.
   * @throws {GatewayError} invalid_request_error, billing_error, overloaded_error.
   */
  async prepare (path: string, model: string | undefined, body: Buffer | undefined): Promise<Call> {
    const call = resolveCall(this.#options.provider, path, model)
    this.#call = call
    this.#body = body
    this.#model = call.model ?? ''
    if (!call.charged) return call
    const budgets = await this.#budgetsOf(this.#session)
    if (budgets.length > 0) {
      const most = this.#most()
      try {
        this.#reservation = await this.#budgets.reserve(budgets, most, this.signal)
      } catch (error) {
        if (error instanceof BudgetExceeded) this.#session.exceededBudget ??= error.budget
        throw error
      }
    }
    if (this.signal.aborted) throw new GatewayError('authentication_error', 'The run that this token is for has ended.')
    this.#sent = true
    return call
  }

  /** A stream to send the answer through: it counts what passes and changes nothing. */
  meter (statusCode: number, contentType: string): Transform {
    this.statusCode = statusCode
    const reader = new UsageReader(contentType)
    this.#reader = reader
    return new Transform({
      transform: (chunk: Buffer, _encoding, done: TransformCallback) => {
        // After the bytes are on their way.
        done(null, chunk)
        reader.push(chunk)
      },
      flush: (done) => {
        reader.end()
        done()
      }
    })
  }

  /** The request's headers, with the key in place of the token. */
  requestHeaders<T> (headers: Readonly<Record<string, T>>): Record<string, T | string> {
    return requestHeaders(this.#options.provider, headers)
  }

  /** The answer's headers. None repeats the key. */
  responseHeaders<T> (headers: Readonly<Record<string, T>>): Record<string, T> {
    const { apiKey } = this.#options.provider
    const clean = Object.entries(responseHeaders(headers)).filter(([, value]) => !String(value).includes(apiKey))
    return Object.fromEntries(clean)
  }

  /** Cuts it: the run is over, or the client has left. */
  abort (): void {
    this.#over.abort()
    this.finish()
  }

  /** Charges for it. Called once its answer has passed, or will not come any more; again does nothing. */
  finish (): void {
    if (this.#finished) return
    this.#finished = true
    this.#session.exchanges.delete(this)
    this.#releaseBytes()
    const durationMs = Math.round(performance.now() - this.#startedAt)
    const { log } = this.#options
    const fields = { ...this.ids, statusCode: this.statusCode, durationMs, aborted: this.signal.aborted }
    if (!this.#isCharged()) {
      this.#reservation?.release()
      log.info(fields, 'model request')
      return
    }
    const reader = this.#reader ?? new UsageReader('')
    const usage = reader.usage(this.#body?.length ?? 0, durationMs / 1000)
    const model = reader.model ?? (this.#model || this.#asked().model)
    const costUsd = this.#options.prices.costOf(model, usage)
    const { runId, accountId } = this.#session.grant
    this.#session.usage = addUsage(this.#session.usage, usage)
    this.#session.costUsd += costUsd
    this.#options.ledger.add(accountId, runId, costUsd)
    this.#reservation?.release()
    log.info({ ...fields, model, costUsd, inputTokens: usage.input_tokens, outputTokens: usage.output_tokens }, 'model request')
  }

  /** An error costs nothing; an answer that was given up before it began may. */
  #isCharged (): boolean {
    if (this.#call?.charged !== true || !this.#sent) return false
    return this.statusCode === 0 ? this.signal.aborted : this.statusCode < 300
  }

  async #budgetsOf ({ grant }: Session): Promise<Budget[]> {
    const { maxBudgetUsd, monthlyBudgetUsd, accountId, runId } = grant
    const { ledger } = this.#options
    const budgets: Budget[] = []
    if (maxBudgetUsd !== undefined) {
      const spent = () => ledger.ofRun(accountId, runId)
      budgets.push({ name: 'maxBudgetUsd', key: `run ${runId}`, limitUsd: maxBudgetUsd, spent })
    }
    if (monthlyBudgetUsd !== undefined) {
      const spent = () => ledger.ofAccount(accountId)
      budgets.push({ name: 'monthlyBudgetUsd', key: `account ${accountId}`, limitUsd: monthlyBudgetUsd, spent })
    }
    if (budgets.length > 0) {
      await ledger.refresh(accountId).catch((cause: unknown) => {
        this.#options.log.error({ ...this.ids, err: cause }, 'spending not read')
        throw new GatewayError('overloaded_error', 'It cannot be told what was spent.', { cause })
      })
    }
    return budgets
  }

  /** The most that it may cost. */
  #most (): number {
    const { model, maxTokens } = this.#asked()
    return this.#options.prices.mostFor(this.#model || model, (this.#body?.length ?? 0) / 3, maxTokens)
  }

  /** Parsed only where it is needed: a long conversation takes milliseconds. */
  #asked (): { model: string, maxTokens: number } {
    try {
      const request = JSON.parse(String(this.#body)) as { model?: unknown, max_tokens?: unknown } | null
      const { model, max_tokens: maxTokens } = request ?? {}
      return {
        model: typeof model === 'string' ? model : '',
        maxTokens: typeof maxTokens === 'number' && maxTokens > 0 ? maxTokens : mostTokens
      }
    } catch {
      // The API will refuse it.
      return { model: '', maxTokens: mostTokens }
    }
  }
}

/** As in the CLI's own result. */
function publicUsage (usage: Usage): Record<string, unknown> {
  const { web_search_requests: webSearches, cache_creation_1h_input_tokens: hour, fast: _fast, inUs: _inUs, ...tokens } = usage
  return {
    ...tokens,
    cache_creation: {
      ephemeral_5m_input_tokens: usage.cache_creation_input_tokens - hour, ephemeral_1h_input_tokens: hour
    },
    server_tool_use: { web_search_requests: webSearches }
  }
}

/** Of the HTTP server and client, and of this service's other errors. */
function toGatewayError (error: unknown): GatewayError {
  if (error instanceof GatewayError) return error
  const { statusCode = 500, code = '' } = error as { statusCode?: number, code?: string }
  const options = { cause: (error as Error).cause ?? error }
  if (statusCode === 413) return new GatewayError('request_too_large', 'A request may have at most 32 MB.', options)
  if (statusCode === 504 || /TIMEOUT/.test(code)) return new GatewayError('timeout_error', 'The model took too long to answer.', options)
  if (code === 'SHUTTING_DOWN') return new GatewayError('overloaded_error', 'The service is restarting.', options)
  if (statusCode >= 400 && statusCode < 500) return new GatewayError('invalid_request_error', 'This is not a request that the model takes.', options)
  return new GatewayError('api_error', 'The model cannot be reached.', options)
}
