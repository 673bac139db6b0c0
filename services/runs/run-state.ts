import { jsonLength, toRecord } from '../../lib/json.js'
import type { Completion, OutcomeName, PendingPermission } from '../../schemas/run.js'
import type { ParsedEvent } from './log-parser.js'
import type { EndedRecord, StartedRecord } from './records.js'

/** What is kept and told of a run's open requests: the agent can write as many as it likes. */
const keptRequests = 100
const keptBytes = 2 * 1024 * 1024
/** What the CLI only says while it works. */
const afterResult = new Set(['assistant', 'user', 'stream_event'])
/** A longer `usage` is not kept: the CLI's is never near this. */
const longestUsage = 10_000
/** More models than any conversation has, with longer names. */
const keptModels = 20
const longestModel = 200

/**
 * The CLI's last word on a run, as far as it is used here. Other programs in the sandbox can write one, too, so none of
 * its fields can be trusted before it is checked.
 */
export interface ResultEvent {
  is_error?: unknown
  usage?: unknown
  total_cost_usd?: unknown
  model_usage_since_last_result?: unknown
  modelUsage?: unknown
}

export interface Ending {
  /** Why it was stopped, when it was. */
  stop: EndedRecord['stop']
  /** What was gone before an end could be recorded. */
  lost?: 'runner' | 'sandbox' | 'stream' | undefined
  /** Whether it had to be stopped after its result. */
  lingered?: boolean | undefined
  exitCode: number | null
  durationMs?: number | undefined
}

/** What a run's events say about it; the same for every replica, as it is read from the log alone. */
export class RunState {
  started: StartedRecord | undefined
  ended: EndedRecord | undefined
  /** The session that the beginning of the log names, where only its end was read. */
  fallbackSession: string | null = null
  #session: string | undefined
  /** After `/clear`: the conversation that it has begun, once the CLI has named it. */
  #cleared: { session?: string } | undefined
  readonly #requests = new OpenRequests()
  #result: (ResultEvent & { session_id?: unknown }) | undefined

  apply ({ object, record, json }: ParsedEvent): void {
    if (record?.record === 'started') this.started ??= record
    if (record?.record === 'ended') this.ended ??= record
    if (record?.record === 'asked') this.#requests.add(json)
    if (record?.record === 'resolved') this.#requests.remove(record.id)
    if (object === undefined) return
    const { type, session_id: session } = object
    if (typeof session === 'string') this.#session ??= session.slice(0, 100)
    if (type === 'conversation_reset' && this.#isOwn(session)) this.#cleared = {}
    else if (object['subtype'] === 'init' && typeof session === 'string' && this.#cleared !== undefined) {
      this.#cleared.session ??= session.slice(0, 100)
    }
    if (type === 'result') {
      if (this.#isOwn(session)) this.#result = object
    } else if (typeof type === 'string' && afterResult.has(type) && this.#isOwn(session)) {
      // Claude works on, so that was not its last word.
      this.#result = undefined
    }
  }

  /** Whether what names this conversation is about it. Other programs can write a result, too. */
  #isOwn (session: unknown): boolean {
    const known = this.namedSession
    return known === null || session === known || session === this.started?.sessionId
  }

  /** The conversation that its output names. */
  get namedSession (): string | null {
    return this.#cleared?.session ?? this.fallbackSession ?? this.#session ?? null
  }

  get hasResult (): boolean {
    return this.#result !== undefined
  }

  /** What Claude waits for. */
  get pendingPermissions (): PendingPermission[] {
    return this.#requests.all
  }

  get sessionId (): string | null {
    const last = this.#result?.session_id
    return typeof last === 'string' ? last.slice(0, 100) : this.namedSession ?? this.started?.sessionId ?? null
  }

  /** How the run ended: by the log's end record, or by what is known when there is none. */
  completion (ending: Ending): Completion {
    const text = this.started?.format === 'text'
    return completion(ending, { result: this.#result, text, sessionId: this.sessionId })
  }
}

/** Requests without an answer, oldest first. What does not fit is not listed, but can be answered all the same. */
class OpenRequests {
  readonly #requests = new Map<string, { request: PendingPermission, bytes: number }>()
  #bytes = 0

  get all (): PendingPermission[] {
    return [...this.#requests.values()].map(({ request }) => request)
  }

  /** @param json the event's data. */
  add (json: string): void {
    const request = JSON.parse(json) as PendingPermission
    const full = this.#requests.size >= keptRequests || this.#bytes + json.length > keptBytes
    if (full || this.#requests.has(request.id)) return
    this.#requests.set(request.id, { request, bytes: json.length })
    this.#bytes += json.length
  }

  remove (id: string): void {
    this.#bytes -= this.#requests.get(id)?.bytes ?? 0
    this.#requests.delete(id)
  }
}

/**
 * The one true outcome. Modal's exit codes are ambiguous (137 is a kill, a timeout or the sandbox's end), so what the
 * runner recorded and what Claude said come first. Text output has no result: exit code 0 is its only sign of success.
 */
export function outcomeOf (
  { stop, lost, exitCode, lingered = false }: Ending, result: ResultEvent | undefined, text: boolean
): OutcomeName {
  if (stop !== '') return stop
  if (result?.is_error) return 'agent_error'
  const isWhole = exitCode === 0 || lingered || lost === 'sandbox' || lost === 'stream'
  if (result !== undefined && isWhole) return 'result'
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
  const usage = toRecord(result?.usage)
  return {
    outcome,
    exitCode: ending.exitCode,
    isError: outcome !== 'result',
    durationMs: ending.durationMs ?? null,
    costUsd: costOf(result),
    usage: usage !== undefined && jsonLength(usage) <= longestUsage ? usage : null,
    costSource: 'claude',
    exceededBudget: null,
    contextWindows: contextWindowsOf(result),
    sessionId
  }
}

/** The CLI's total is for the whole conversation; what it spent since its last result is this run's. */
function costOf (result: ResultEvent | undefined): number | null {
  const models = toRecord(result?.model_usage_since_last_result)
  if (models === undefined) return amount(result?.total_cost_usd)
  return Object.values(models).reduce<number>((sum, model) => sum + (amount(toRecord(model)?.['costUSD']) ?? 0), 0)
}

function contextWindowsOf (result: ResultEvent | undefined): Record<string, number> | null {
  const windows = Object.entries(toRecord(result?.modelUsage) ?? {})
    .map(([model, usage]) => [model, toRecord(usage)?.['contextWindow']] as const)
    .filter(([model, window]) => model.length <= longestModel && Number.isSafeInteger(window) && Number(window) > 0)
  return windows.length === 0 ? null : Object.fromEntries(windows.slice(0, keptModels)) as Record<string, number>
}

function amount (value: unknown): number | null {
  return typeof value === 'number' && Number.isFinite(value) ? value : null
}
