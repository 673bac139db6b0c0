import { streaming, type Api } from './api.js'
import { dataOf, unwrap, type ApiError } from './errors.js'
import { EventStream, type AnyEvent, type RunEvent } from './events.js'
import { follow, isRefusal, isTransient, isUnanswered } from './follow.js'
import { randomUuid } from './random-uuid.js'
import type { operations } from './schema.js'

export type RunSpec = operations['runPrompt']['requestBody']['content']['application/json']
/** How a run is. */
export type RunView = operations['runPrompt']['responses'][202]['content']['application/json']

export interface FollowOptions {
  /** The id of the last event received: the stream goes on behind it. */
  lastEventId?: string
  /** Stops following. A run without readers ends after a while, unless its `onDisconnect` is `continue`. */
  signal?: AbortSignal
}

const path = '/api/modal/sandbox/{id}/claude'
/** How often a run is looked for that is active, but not in the list. */
const maxTriesWhileActive = 5

/** Runs of Claude: started, or found by their ids, and followed to their end. */
export class Runs {
  readonly #api: Api
  readonly #retryForMs: number

  constructor (api: Api, retryForMs: number) {
    this.#api = api
    this.#retryForMs = retryForMs
  }

  /**
   * Follows a run, from its first event or from the one after `lastEventId`, until its `run.completed`. Without any
   * event when that was read already.
   */
  stream (sandboxId: string, runId: string, { lastEventId, signal }: FollowOptions = {}): EventStream<RunEvent, 'run.completed'> {
    return new EventStream(follow({
      open: (position) => this.#open(sandboxId, runId, position, signal),
      isLast,
      canRepeat: canFollowAgain,
      lastEventId,
      signal,
      retryForMs: this.#retryForMs
    }), 'run.completed')
  }

  /**
   * Starts a run and follows it. When the answer to the request is lost, the run is looked for before the request is
   * repeated; that takes a conversation of its own, so with `sessionId` or `continue` a lost answer is an error.
   */
  start (sandboxId: string, spec: RunSpec, { signal }: Pick<FollowOptions, 'signal'> = {}): EventStream<RunEvent, 'run.completed'> {
    const ownSession = spec.sessionId === undefined && spec.continue !== true
    const body = ownSession ? { ...spec, sessionId: randomUuid() } : spec
    let runId: string | undefined
    /** Requests of which nobody knows whether they have arrived. */
    let lost = 0

    const open = async (position: string | undefined) => {
      if (runId === undefined && lost > 0) runId = await this.#find(sandboxId, body.sessionId!, signal)
      if (runId !== undefined) return await this.#open(sandboxId, runId, position, signal)
      const answer = await this.#api.POST(path, { params: { path: { id: sandboxId } }, body, ...streaming(signal) })
      const events = dataOf(answer)
      runId = answer.response.headers.get('location')?.split('/').at(-1)
      return events
    }
    const canRepeat = (failure: ApiError, begun: boolean) => {
      if (runId !== undefined) return canFollowAgain(failure, begun)
      if (isRefusal(failure)) return true
      // That of a lost request, which will be in the list.
      const isOwn = failure.code === 'RUN_ACTIVE' && lost > 0 && lost < maxTriesWhileActive
      if (!ownSession || !(isUnanswered(failure) || isOwn)) return false
      lost++
      return true
    }
    return new EventStream(follow({ open, isLast, canRepeat, signal, retryForMs: this.#retryForMs }), 'run.completed')
  }

  /**
   * Starts a run without following it: {@link stream} does so later. With `onDisconnect` `continue` it needs no reader.
   */
  async submit (sandboxId: string, spec: RunSpec, { signal }: Pick<FollowOptions, 'signal'> = {}): Promise<RunView> {
    return await unwrap(this.#api.POST(path, {
      params: { path: { id: sandboxId }, header: { prefer: 'respond-async' } }, body: spec, ...signal && { signal }
    })) as RunView
  }

  /** Its events after a position; undefined when all were read. */
  async #open (sandboxId: string, runId: string, lastEventId: string | undefined, signal: AbortSignal | undefined) {
    const header = lastEventId === undefined ? {} : { 'last-event-id': lastEventId }
    return await unwrap(this.#api.GET(`${path}/{runId}/events`, {
      params: { path: { id: sandboxId, runId }, header }, ...streaming(signal)
    }))
  }

  async #find (id: string, sessionId: string, signal: AbortSignal | undefined): Promise<string | undefined> {
    const { runs } = await unwrap(this.#api.GET(path, { params: { path: { id } }, ...signal && { signal } }))
    return runs.find((run) => run.sessionId === sessionId)?.runId
  }
}

function isLast ({ event }: AnyEvent): boolean {
  return event === 'run.completed'
}

/** The service may not have noticed yet that the last connection is gone, and counts it. */
function canFollowAgain (error: ApiError, begun: boolean): boolean {
  return isTransient(error) || (begun && error.code === 'LIMIT_REACHED')
}
