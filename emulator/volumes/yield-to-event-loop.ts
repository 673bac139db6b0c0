import { setImmediate } from 'node:timers/promises'

/** Milliseconds of work in one turn of the event loop. */
const slice = 2
let until = 0
let turn: Promise<unknown> = Promise.resolve()

/**
 * To be awaited between the small pieces of a long synchronous work: from time to time it lets everything else in the
 * process go on. Works that run side by side share the slices, so many of them don't make a turn longer.
 */
export async function breathe (): Promise<void> {
  if (performance.now() < until) return
  turn = turn.then(() => setImmediate())
  await turn
  until = performance.now() + slice
}
