import type { Log } from '../../lib/log.js'

/** What one replica has spent for an account in a month. It only grows; the sum over replicas is the truth. */
export interface Counter {
  version: 1
  accountId: string
  /** `2026-11`, in UTC. */
  month: string
  replica: string
  usd: number
  /** The part of runs whose token may still be valid. */
  runs: Record<string, { usd: number, at: number }>
}

/** Keeps one object per account, month and replica, so that no write can undo another's. */
export interface CounterStore {
  write (counter: Counter): Promise<void>
  /** Those of all other replicas, as they are now. */
  readOthers (accountId: string, month: string, replica: string): Promise<Counter[]>
}

interface LedgerOptions {
  /** Without one, only what this process has spent is known. */
  store: CounterStore | undefined
  replica: string
  log: Log
  now?: () => Date
}

const refreshMs = 5000
const writeMs = 1000
/** No token is valid for longer. */
const runMs = 25 * 60 * 60_000

interface Entry {
  own: Counter
  others: Counter[]
  dirty: boolean
  readAt: number
  reading: Promise<void> | undefined
}

/** What accounts and runs have spent, over all replicas. */
export class SpendingLedger {
  readonly #options: LedgerOptions
  readonly #now: () => Date
  readonly #entries = new Map<string, Entry>()
  #writing: NodeJS.Timeout | undefined

  constructor (options: LedgerOptions) {
    this.#options = options
    this.#now = options.now ?? (() => new Date())
  }

  add (accountId: string, runId: string, usd: number): void {
    const entry = this.#entry(accountId)
    const at = this.#now().getTime()
    entry.own.usd += usd
    entry.own.runs[runId] = { usd: (entry.own.runs[runId]?.usd ?? 0) + usd, at }
    for (const [id, run] of Object.entries(entry.own.runs)) if (run.at < at - runMs) delete entry.own.runs[id]
    entry.dirty = true
    if (this.#options.store !== undefined) this.#writing ??= this.#writeIn(writeMs)
  }

  /** US dollars in this month. */
  ofAccount (accountId: string): number {
    const { own, others } = this.#entry(accountId)
    return own.usd + others.reduce((sum, { usd }) => sum + usd, 0)
  }

  /** US dollars, also those of the month before. */
  ofRun (accountId: string, runId: string): number {
    const before = new Date(this.#now())
    before.setUTCDate(0)
    const entries = [this.#entry(accountId), this.#entries.get(keyOf(before, accountId))]
    const counters = entries.flatMap((entry) => entry === undefined ? [] : [entry.own, ...entry.others])
    return counters.reduce((sum, { runs }) => sum + (runs[runId]?.usd ?? 0), 0)
  }

  /**
   * Reads what other replicas have spent: waits for it the first time, and later reads it anew every some seconds.
   * @throws when it could not be read even once.
   */
  async refresh (accountId: string): Promise<void> {
    const { store, replica, log } = this.#options
    const entry = this.#entry(accountId)
    if (store === undefined || performance.now() - entry.readAt < refreshMs) return
    entry.reading ??= store.readOthers(accountId, entry.own.month, replica).then((others) => {
      entry.others = others
      entry.readAt = performance.now()
    }).finally(() => { entry.reading = undefined })
    if (entry.readAt === -Infinity) return await entry.reading
    entry.reading.catch((err: unknown) => { log.warn({ accountId, err }, 'spending of other replicas not read') })
  }

  /** Writes what is not written yet. */
  async close (): Promise<void> {
    clearTimeout(this.#writing)
    await this.#write()
  }

  #entry (accountId: string): Entry {
    const now = this.#now()
    const key = keyOf(now, accountId)
    let entry = this.#entries.get(key)
    if (entry === undefined) {
      const { replica } = this.#options
      const own = { version: 1 as const, accountId, month: monthOf(now), replica, usd: 0, runs: {} }
      entry = { own, others: [], dirty: false, readAt: -Infinity, reading: undefined }
      this.#entries.set(key, entry)
    }
    return entry
  }

  async #write (): Promise<void> {
    const { store, log } = this.#options
    if (store === undefined) return
    await Promise.all([...this.#entries.values()].filter(({ dirty }) => dirty).map(async (entry) => {
      entry.dirty = false
      await store.write(entry.own).catch((err: unknown) => {
        entry.dirty = true
        log.error({ accountId: entry.own.accountId, err }, 'spending not stored')
      })
    }))
    const again = [...this.#entries.values()].some(({ dirty }) => dirty)
    this.#writing = again ? this.#writeIn(5 * writeMs) : undefined
  }

  #writeIn (ms: number): NodeJS.Timeout {
    return setTimeout(async () => { await this.#write() }, ms).unref()
  }
}

function monthOf (date: Date): string {
  return date.toISOString().slice(0, 7)
}

function keyOf (date: Date, accountId: string): string {
  return `${monthOf(date)} ${accountId}`
}
