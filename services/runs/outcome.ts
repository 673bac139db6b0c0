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

export interface Ending {
  /** Why we ended it, when we did. */
  stoppedFor?: 'cancelled' | 'timeout' | undefined
  lost?: 'sandbox_lost' | 'stream_lost' | undefined
  exitCode: number | null
  result?: ResultEvent | undefined
  /** Text output has no result event: exit code 0 is the only sign of success. */
  text: boolean
}

/**
 * The one true outcome. Modal's exit codes are ambiguous (137 is a kill, a timeout or the sandbox's end), so what we
 * did and what Claude said come first.
 */
export function outcomeOf ({ stoppedFor, lost, exitCode, result, text }: Ending): OutcomeName {
  if (stoppedFor !== undefined) return stoppedFor
  if (result !== undefined) return result.is_error ? 'agent_error' : 'result'
  if (lost !== undefined) return lost
  if (text && exitCode === 0) return 'result'
  return exitCode !== null && exitCode > 128 ? 'signal' : 'exit'
}

export function completion (ending: Ending, sessionId: string | null, durationMs: number): Completion {
  const outcome = outcomeOf(ending)
  return {
    outcome,
    exitCode: ending.exitCode,
    isError: outcome !== 'result',
    durationMs,
    costUsd: costOf(ending.result),
    usage: record(ending.result?.usage) ?? null,
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
