import { EventEmitter, on } from 'node:events'
import { type GenericResult, resultStatus } from './proto/messages.js'

/** Log lines that are kept for late readers; a build that prints more loses its first ones. */
const keepLines = 5000

/** One build in the background: its log as it grows, and its result. */
export class ImageBuild {
  readonly id: string
  /** Resolves when there is a result. Never rejects. */
  readonly finished: Promise<void>
  result: GenericResult | undefined
  readonly #lines: string[] = []
  #dropped = 0
  readonly #changes = new EventEmitter().setMaxListeners(0)

  constructor (id: string, work: (onLog: (text: string) => void) => Promise<unknown>) {
    this.id = id
    this.finished = work((text) => this.#append(text)).then(
      () => this.#finish({ status: resultStatus.success }),
      (error: Error) => this.#finish({ status: resultStatus.failure, exception: error.message })
    )
  }

  /** Log entries after number `after`, with their numbers; ends with the build or when the signal is aborted. */
  async * follow (after: number, signal: AbortSignal): AsyncGenerator<{ number: number, text: string }> {
    let next = after
    const changes = on(this.#changes, 'change', { signal })
    try {
      while (true) {
        for (next = Math.max(next, this.#dropped); next < this.#dropped + this.#lines.length; next++) {
          yield { number: next + 1, text: this.#lines[next - this.#dropped]! }
        }
        if (this.result) return
        await changes.next()
      }
    } catch (error) {
      if (!signal.aborted) throw error
    } finally {
      await changes.return?.()
    }
  }

  #append (text: string): void {
    this.#lines.push(text)
    if (this.#lines.length > keepLines) {
      this.#lines.shift()
      this.#dropped++
    }
    this.#changes.emit('change')
  }

  #finish (result: GenericResult): void {
    this.result = result
    this.#changes.emit('change')
  }
}
