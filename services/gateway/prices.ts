import type { ModelPrice } from '../../schemas/model-price.js'
import type { Asked } from './asked.js'
import type { Usage } from './usage.js'

/** The longest name that a model's id contains counts. The same prices as in the CLI (2.1.330). */
const known: Record<string, ModelPrice> = {
  'claude-3-haiku': { input: 0.25, output: 1.25 },
  'claude-3-5-haiku': { input: 0.8, output: 4 },
  'claude-3-opus': { input: 15, output: 75 },
  'claude-3-sonnet': { input: 3, output: 15 },
  'claude-3-5-sonnet': { input: 3, output: 15 },
  'claude-3-7-sonnet': { input: 3, output: 15 },
  'claude-haiku-4-5': { input: 1, output: 5 },
  'claude-haiku-5-5': { input: 0.1, output: 0.5, long: { above: 100_000, factor: 5 } },
  // A longer prompt needs `context-1m` in `anthropic-beta`. Its output costs half more, which is charged as twice.
  'claude-sonnet-4': { input: 3, output: 15, long: { above: 200_000, factor: 2 } },
  'claude-sonnet-4-6': { input: 3, output: 15 },
  'claude-sonnet-5': { input: 2, output: 10 },
  'claude-sonnet-5-5': { input: 2, output: 10, cacheRead: 0.1 },
  'claude-opus-4': { input: 15, output: 75 },
  'claude-opus-4-5': { input: 5, output: 25 },
  'claude-opus-4-6': { input: 5, output: 25, fastFactor: 6 },
  'claude-opus-4-7': { input: 5, output: 25, fastFactor: 6 },
  'claude-opus-4-8': { input: 5, output: 25 },
  'claude-opus-5': { input: 5, output: 25 },
  'claude-opus-5-5': { input: 4, output: 20, cacheRead: 0.2 },
  'claude-fable-5': { input: 10, output: 50 },
  'claude-fable-5-1': { input: 10, output: 50, cacheRead: 0.25 },
  'claude-fable-5-2': { input: 8, output: 40, cacheRead: 0.2 },
  'claude-mythos-5': { input: 10, output: 50 },
  'claude-mythos-5-1': { input: 10, output: 50, cacheRead: 0.25 },
  'claude-mythos-5-2': { input: 8, output: 40, cacheRead: 0.2 }
}
const webSearchUsd = 0.01
/** For data that stays in the United States. */
const usFactor = 1.1

/** What an answer costs. */
export class Prices {
  readonly #table: Array<[string, ModelPrice]>
  readonly #dearest: ModelPrice
  readonly #onUnknown: (model: string) => void
  readonly #unknown = new Set<string>()

  /** @param onUnknown called once for each model without a price; it is charged as the dearest one. */
  constructor (own: Readonly<Record<string, ModelPrice>>, onUnknown: (model: string) => void) {
    const table = Object.entries({ ...known, ...own })
    this.#table = table.sort(([one], [other]) => other.length - one.length)
    this.#dearest = table.map(([, price]) => price).reduce((one, other) => other.output > one.output ? other : one)
    this.#onUnknown = onUnknown
  }

  costOf (model: string, usage: Usage): number {
    const price = this.#find(model)
    const { input, output, cacheRead = input / 10, cacheWrite = input * 1.25, cacheWrite1h = input * 2 } = price
    const cached = usage.cache_creation_input_tokens
    const hour = Math.min(usage.cache_creation_1h_input_tokens, cached)
    const prompt = usage.input_tokens + usage.cache_read_input_tokens + cached
    const tokens = usage.input_tokens * input + usage.output_tokens * output +
      usage.cache_read_input_tokens * cacheRead + (cached - hour) * cacheWrite + hour * cacheWrite1h
    const factor = (price.long !== undefined && prompt > price.long.above ? price.long.factor : 1) *
      (usage.fast ? price.fastFactor ?? 2 : 1) * (usage.inUs ? usFactor : 1)
    return tokens / 1e6 * factor + usage.web_search_requests * webSearchUsd
  }

  /** The most that a request may cost: all of its prompt goes to the cache, and it uses all it may. */
  mostFor (model: string, { promptTokens, outputTokens, webSearches, fast }: Asked): number {
    const { input, output, cacheWrite = 0, cacheWrite1h = input * 2, long, fastFactor = 2 } = this.#find(model)
    const tokens = promptTokens * Math.max(input, cacheWrite, cacheWrite1h) + outputTokens * output
    return tokens / 1e6 * (long?.factor ?? 1) * (fast ? fastFactor : 1) * usFactor + webSearches * webSearchUsd
  }

  #find (model: string): ModelPrice {
    const found = this.#table.find(([name]) => model.includes(name))?.[1]
    if (found !== undefined) return found
    const name = model.slice(0, 200)
    if (!this.#unknown.has(name) && this.#unknown.size < 100) {
      this.#unknown.add(name)
      this.#onUnknown(name)
    }
    return this.#dearest
  }
}
