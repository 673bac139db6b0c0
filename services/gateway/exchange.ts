import { Transform, type TransformCallback } from 'node:stream'
import type { Log } from '../../lib/log.js'
import type { RunState } from '../modal/run-tags.js'
import { readAsked, type Asked } from './asked.js'
import { BudgetExceeded, type Budget, type Budgets, type Reservation } from './budgets.js'
import { GatewayError } from './errors.js'
import type { Prices } from './prices.js'
import { resolveCall, type Call, type Provider } from './provider.js'
import type { SpendingLedger } from './spending.js'
import type { RunGrant, RunTokens } from './token.js'
import { addUsage, noUsage, UsageReader, type Usage } from './usage.js'

export interface GatewayOptions {
  provider: Provider
  tokens: RunTokens
  prices: Prices
  ledger: SpendingLedger
  /** Whether a run that another replica has started goes on, by Modal's word; `unknown` may be one that is starting. */
  runState: (grant: RunGrant) => Promise<RunState>
  log: Log
}

/** What a run has cost, by the API's own answers. */
export interface Charges {
  costUsd: number
  usage: Record<string, unknown>
  /** The budget that a request was refused for. */
  exceededBudget: Budget['name'] | null
}

/** How long Modal's word about another replica's run is taken for true. */
const cachedMs = 3000

const noBody = Buffer.alloc(0)

/** A run as the gateway knows it. */
export class Session {
  readonly grant: RunGrant
  /** Started by this replica, which learns of its end by itself. */
  readonly own: boolean
  ended = false
  usage: Usage = noUsage
  costUsd = 0
  exceededBudget: Budget['name'] | null = null
  readonly exchanges = new Set<Exchange>()
  #known: { value: RunState, at: number } | undefined
  #asking: Promise<RunState> | undefined

  constructor (grant: RunGrant, own: boolean) {
    this.grant = grant
    this.own = own
  }

  get ids () {
    const { accountId, sandboxId, runId } = this.grant
    return { accountId, sandboxId, runId }
  }

  /** Nothing comes in any more, and what is under way is cut. */
  end (): void {
    this.ended = true
    for (const exchange of this.exchanges) exchange.abort()
  }

  /** Asks at most every {@link cachedMs}, and only about a run of another replica that is not known to have ended. */
  async state (ask: () => Promise<RunState>): Promise<RunState> {
    if (this.ended) return 'ended'
    if (this.own) return 'running'
    if (this.#known !== undefined && performance.now() - this.#known.at < cachedMs) return this.#known.value
    this.#asking ??= ask().then((value) => {
      this.#known = { value, at: performance.now() }
      return value
    }).finally(() => { this.#asking = undefined })
    const value = await this.#asking
    return this.ended ? 'ended' : value
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
  #read: Asked | undefined
  #sentAt: number | undefined
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
    return this.#session.ids
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
      const most = this.#options.prices.mostFor(this.#model || this.#asked.model, this.#asked)
      try {
        this.#reservation = await this.#budgets.reserve(budgets, most, this.signal)
      } catch (error) {
        if (error instanceof BudgetExceeded) this.#session.exceededBudget ??= error.budget
        throw error
      }
    }
    if (this.#finished) {
      // While it waited, so that nobody else releases what was reserved since.
      this.#reservation?.release()
      throw new GatewayError('authentication_error', 'The run that this token is for has ended.')
    }
    this.#sentAt = performance.now()
    return call
  }

  /** A stream to send the answer through: it counts what passes and changes nothing. */
  meter (statusCode: number, contentType: string): Transform {
    this.statusCode = statusCode
    const reader = new UsageReader(contentType, this.#sentAt)
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
    // Whoever waits for it looks at what was spent only after this has been charged.
    this.#reservation?.release()
    const durationMs = Math.round(performance.now() - this.#startedAt)
    const { log } = this.#options
    const fields = { ...this.ids, statusCode: this.statusCode, durationMs, aborted: this.signal.aborted }
    if (!this.#isCharged()) {
      log.info(fields, 'model request')
      return
    }
    const reader = this.#reader ?? new UsageReader('', this.#sentAt)
    const own = reader.usage ?? reader.estimate(this.#asked, this.#body ?? noBody)
    const model = reader.model ?? (this.#model || this.#asked.model)
    const extra = reader.extra.map((part) =>
      ({ model: part.model ?? model, usage: { ...part.usage, fast: own.fast, inUs: own.inUs } }))
    const parts = [{ model, usage: own }, ...extra]
    const usage = parts.map((part) => part.usage).reduce(addUsage)
    const costUsd = parts.reduce((sum, part) => sum + this.#options.prices.costOf(part.model, part.usage), 0)
    const { runId, accountId } = this.#session.grant
    this.#session.usage = addUsage(this.#session.usage, usage)
    this.#session.costUsd += costUsd
    this.#options.ledger.add(accountId, runId, costUsd)
    const { input_tokens: inputTokens, output_tokens: outputTokens } = usage
    log.info({ ...fields, model, costUsd, inputTokens, outputTokens }, 'model request')
  }

  /** An error costs nothing; an answer that was given up before it began may. */
  #isCharged (): boolean {
    if (this.#call?.charged !== true || this.#sentAt === undefined) return false
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

  /** Parsed only where it is needed: a long conversation takes milliseconds. */
  get #asked (): Asked {
    this.#read ??= readAsked(this.#body)
    return this.#read
  }
}

/** As in the CLI's own result. */
export function publicUsage (usage: Usage): Record<string, unknown> {
  const cached = usage.cache_creation_input_tokens
  const hour = usage.cache_creation_1h_input_tokens
  return {
    input_tokens: usage.input_tokens,
    output_tokens: usage.output_tokens,
    cache_creation_input_tokens: cached,
    cache_read_input_tokens: usage.cache_read_input_tokens,
    cache_creation: { ephemeral_5m_input_tokens: cached - hour, ephemeral_1h_input_tokens: hour },
    server_tool_use: { web_search_requests: usage.web_search_requests }
  }
}
