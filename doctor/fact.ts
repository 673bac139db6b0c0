import type { Bench } from './bench.js'

/** One thing that the service takes for granted about Modal, or is built for either way. */
export interface Fact {
  /** What is asked of Modal, as a statement: "a list has a new sandbox at once". */
  asked: string
  expected: string
  /** What it means for the service when something else is found. */
  otherwise: string
  /** Asked by `npm run doctor`: it takes seconds, and no sandbox but the one that all share. */
  isCheap?: true
  timeoutMs: number
  ask: (bench: Bench) => Promise<Answer>
}

export interface Answer {
  found: string
  /** Whether the service works with that. */
  holds: boolean
}

/** Compares what was found with what has to be. */
export function expects (found: string, expected: string): Answer {
  return { found, holds: found === expected }
}

/** Whatever is found, the service is built for it. */
export function either (found: string): Answer {
  return { found, holds: true }
}

export const second = 1000
export const minute = 60 * second
