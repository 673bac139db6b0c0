import { GatewayError } from './errors.js'

/** An amount that must not be exceeded, and what it is called in errors. */
export interface Budget {
  name: 'maxBudgetUsd' | 'monthlyBudgetUsd'
  /** The run or account that it is for. */
  key: string
  limitUsd: number
  spent: () => number
}

/** Until it is released, an amount is taken for spent. */
export interface Reservation { release (): void }

interface Held { usd: number, requests: number }

export class BudgetExceeded extends GatewayError {
  readonly budget: Budget['name']

  constructor ({ name, limitUsd }: Budget) {
    const whose = name === 'maxBudgetUsd' ? 'The budget of this run' : 'The budget of your account for this month'
    super('billing_error', `${whose} is spent: ${name} is $${limitUsd}.`)
    this.budget = name
  }
}

/**
 * Admits requests as long as there is something left. What is in flight counts with the most that it may cost, so that
 * requests sent at once exceed a budget by one answer at most: a request that may not fit beside others waits for them.
 */
export class Budgets {
  readonly #held = new Map<string, Held>()
  readonly #waitMs: number
  #waiting: Array<() => void> = []

  /** @param waitMs how long a request waits for others. */
  constructor (waitMs: number) {
    this.#waitMs = waitMs
  }

  /** @throws {GatewayError} BudgetExceeded; overloaded_error when others took too long. */
  async reserve (budgets: readonly Budget[], usd: number, signal: AbortSignal): Promise<Reservation> {
    const until = performance.now() + this.#waitMs
    while (true) {
      const exceeded = budgets.find(({ limitUsd, spent }) => spent() >= limitUsd)
      if (exceeded !== undefined) throw new BudgetExceeded(exceeded)
      if (budgets.every((budget) => this.#fits(budget, usd))) return this.#hold(budgets, usd)
      const left = until - performance.now()
      if (left <= 0 || signal.aborted) {
        throw new GatewayError('overloaded_error', 'Other requests in flight may use up what is left of the budget.')
      }
      await this.#change(left, signal)
    }
  }

  #fits ({ key, limitUsd, spent }: Budget, usd: number): boolean {
    const held = this.#held.get(key)
    return held === undefined || spent() + held.usd + usd <= limitUsd
  }

  #hold (budgets: readonly Budget[], usd: number): Reservation {
    for (const { key } of budgets) {
      const held = this.#held.get(key) ?? { usd: 0, requests: 0 }
      this.#held.set(key, { usd: held.usd + usd, requests: held.requests + 1 })
    }
    let released = false
    return {
      release: () => {
        if (released) return
        released = true
        for (const { key } of budgets) {
          const held = this.#held.get(key)!
          if (held.requests === 1) this.#held.delete(key)
          else this.#held.set(key, { usd: held.usd - usd, requests: held.requests - 1 })
        }
        const waiting = this.#waiting
        this.#waiting = []
        for (const wake of waiting) wake()
      }
    }
  }

  async #change (ms: number, signal: AbortSignal): Promise<void> {
    await new Promise<void>((resolve) => {
      const done = () => {
        clearTimeout(timer)
        signal.removeEventListener('abort', done)
        resolve()
      }
      const timer = setTimeout(done, ms)
      signal.addEventListener('abort', done, { once: true })
      this.#waiting.push(done)
    })
  }
}
