import type { Metadata } from '@grpc/grpc-js'

const rememberMs = 10 * 60_000

/** Answers a repeated call (same `x-idempotency-key`) with the first call's answer instead of acting twice. */
export class Idempotency {
  readonly #answers = new Map<string, Promise<object>>()

  once (metadata: Metadata, act: () => Promise<object>): Promise<object> {
    const key = String(metadata.get('x-idempotency-key')[0] ?? '')
    if (key === '') return act()
    const known = this.#answers.get(key)
    if (known) return known
    const answer = act()
    this.#answers.set(key, answer)
    answer.catch(() => this.#answers.delete(key))
    setTimeout(() => this.#answers.delete(key), rememberMs).unref()
    return answer
  }
}
