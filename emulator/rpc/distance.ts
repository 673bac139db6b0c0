import { setTimeout as sleep } from 'node:timers/promises'

/** A call that the emulator has answered. Times are those of `performance.now()`. */
export interface AnsweredCall {
  method: string
  /** Of a call whose client sends a stream: nothing. */
  request: unknown
  startedAt: number
  /** When the answer was sent; of a stream, its first message, or its end when there is none. */
  answeredAt: number
}

/** How far clients are from the emulator, and who is told of their calls. */
export interface Distance {
  /** By how many milliseconds each answer is late; of a stream, its first message. */
  delayMs: number
  onCall?: ((call: AnsweredCall) => void) | undefined
}

/**
 * To be called when a call arrives.
 * @returns to be awaited before its answer is sent; of a stream before each message, as only the first one waits.
 */
export function arrival ({ delayMs, onCall }: Distance, method: string, request: unknown): () => Promise<void> {
  const startedAt = performance.now()
  let travelled: Promise<void> | undefined
  return async () => {
    travelled ??= (async () => {
      if (delayMs > 0) await sleep(delayMs)
      onCall?.({ method, request, startedAt, answeredAt: performance.now() })
    })()
    await travelled
  }
}
