import { jsonLength } from '../../lib/json.js'
import type { Completion, OutcomeName } from '../../schemas/run.js'

/**
 * The CLI's last word on a run, as far as it is used here. What runs in the sandbox can write one, too, so none of its
 * fields is what it should be until that is checked.
 */
export interface ResultEvent {
  is_error?: unknown
  usage?: unknown
  total_cost_usd?: unknown
  model_usage_since_last_result?: unknown
}

/** What is made to be longer is not kept. */
const longestUsage = 10_000

export interface Ending {
  /** Why it was stopped, when it was. */
  stop: 'cancelled' | 'timeout' | ''
  /** What was gone before an end could be recorded. */
  lost?: 'runner' | 'sandbox' | 'stream' | undefined
  exitCode: number | null
  durationMs?: number | undefined
}

/**
 * The one true outcome. Modal's exit codes are ambiguous (137 is a kill, a timeout or the sandbox's end), so what the
 * runner recorded and what Claude said come first. Text output has no result: exit code 0 is its only sign of success.
 */
export function outcomeOf (
  { stop, lost, exitCode }: Ending, result: ResultEvent | undefined, text: boolean
): OutcomeName {
  if (stop !== '') return stop
  if (result !== undefined) return result.is_error ? 'agent_error' : 'result'
  if (lost === 'sandbox') return 'sandbox_lost'
  if (lost === 'stream') return 'stream_lost'
  if (lost === 'runner') return 'signal'
  if (text && exitCode === 0) return 'result'
  return exitCode !== null && exitCode > 128 ? 'signal' : 'exit'
}

export function completion (
  ending: Ending,
  { result, text, sessionId }: { result: ResultEvent | undefined, text: boolean, sessionId: string | null }
): Completion {
  const outcome = outcomeOf(ending, result, text)
  const usage = record(result?.usage)
  return {
    outcome,
    exitCode: ending.exitCode,
    isError: outcome !== 'result',
    durationMs: ending.durationMs ?? null,
    costUsd: costOf(result),
    usage: usage !== undefined && jsonLength(usage) <= longestUsage ? usage : null,
    sessionId
  }
}

/** The CLI's total counts the whole conversation; what it spent since its last result is this run's. */
function costOf (result: ResultEvent | undefined): number | null {
  const models = record(result?.model_usage_since_last_result)
  if (models === undefined) return amount(result?.total_cost_usd)
  return Object.values(models).reduce<number>((sum, model) => sum + (amount(record(model)?.['costUSD']) ?? 0), 0)
}

function amount (value: unknown): number | null {
  return typeof value === 'number' && Number.isFinite(value) ? value : null
}

function record (value: unknown): Record<string, unknown> | undefined {
  const isRecord = typeof value === 'object' && value !== null && !Array.isArray(value)
  return isRecord ? value as Record<string, unknown> : undefined
}
