import { setImmediate } from 'node:timers/promises'

/** How long synchronous work may hold the event loop. */
const sliceMs = 2
let until = 0
let turn: Promise<unknown> = Promise.resolve()

/**
 * To be awaited between the steps of long synchronous work: every few milliseconds it lets the rest of the process run.
 * Concurrent callers share one time slice, so many of them don't block the loop for longer than one does.
 */
export async function yieldToEventLoop (): Promise<void> {
  if (performance.now() < until) return
  turn = turn.then(() => setImmediate())
  await turn
  until = performance.now() + sliceMs
}
