import { setTimeout as sleep } from 'node:timers/promises'
import type { Bench } from './bench.js'
import type { Answer, Fact } from './fact.js'

export interface Asked extends Answer { fact: Fact, durationMs: number }

/**
 * Asks one thing. An error, or no answer in time, is an answer: one that does not hold. Never rejects.
 * @param stop when aborted, nobody waits for the answer any more.
 */
export async function ask (fact: Fact, bench: Bench, stop = new AbortController().signal): Promise<Asked> {
  const started = performance.now()
  const over = new AbortController()
  const late = sleep(fact.timeoutMs, undefined, { signal: AbortSignal.any([over.signal, stop]) }).then(
    () => ({ found: `no answer within ${fact.timeoutMs / 1000} s`, holds: false }),
    () => ({ found: 'not answered: stopped', holds: false }))
  const asking = fact.ask(bench).catch((error: unknown): Answer => ({ found: describe(error), holds: false }))
  const answer = await Promise.race([asking, late])
  over.abort()
  return { ...answer, fact, durationMs: Math.round(performance.now() - started) }
}

function describe (error: unknown): string {
  return error instanceof Error ? `${error.name}: ${error.message}` : String(error)
}

/** A table in Markdown, to be pasted into an issue. */
export function table (answers: Asked[]): string {
  const rows = answers.map(({ fact, found, holds, durationMs }) =>
    [holds ? 'ok' : '**no**', fact.asked, fact.expected, found, holds ? '' : fact.otherwise, `${(durationMs / 1000).toFixed(1)} s`])
  return [['', 'asked', 'expected', 'found', 'what it means', 'took'], Array(6).fill('---'), ...rows]
    .map((cells) => `| ${cells.map(cell).join(' | ')} |`).join('\n')
}

function cell (text: string): string {
  return text.trim().replaceAll(/\s*\n\s*/g, ' / ').replaceAll('|', '\\|').slice(0, 300)
}
