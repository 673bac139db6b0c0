import type { Completion, PendingPermission } from '../../schemas/run.js'
import { completion, type Ending, type ResultEvent } from './outcome.js'
import type { ParsedEvent } from './output.js'
import { OpenRequests } from './permissions.js'
import type { EndedRecord, StartedRecord } from './records.js'

/** What a run's events say about it; the same for every replica, as it is read from the log alone. */
export class RunState {
  started: StartedRecord | undefined
  ended: EndedRecord | undefined
  /** The session that the beginning of the log names, where only its end was read. */
  fallbackSession: string | null = null
  #session: string | undefined
  readonly #requests = new OpenRequests()
  #result: (ResultEvent & { session_id?: unknown }) | undefined

  see ({ object, record, json }: ParsedEvent): void {
    if (record?.record === 'started') this.started ??= record
    if (record?.record === 'ended') this.ended ??= record
    if (record?.record === 'asked') this.#requests.add(json)
    if (record?.record === 'resolved') this.#requests.remove(record.id)
    if (object === undefined) return
    if (typeof object['session_id'] === 'string') this.#session ??= object['session_id'].slice(0, 100)
    if (object['type'] === 'result') this.#result = object
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
    return typeof last === 'string' ? last.slice(0, 100) : this.fallbackSession ?? this.#session ?? this.started?.sessionId ?? null
  }

  /** How the run ended; by the log's end record, or by what is known when there is none. */
  completion (ending: Ending): Completion {
    const text = this.started?.format === 'text'
    return completion(ending, { result: this.#result, text, sessionId: this.sessionId })
  }
}
