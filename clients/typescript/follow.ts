import { ApiError, connectionLost, errorOfBody } from './errors.js'
import { readEvents, type AnyEvent } from './events.js'

const firstDelayMs = 500
const longestDelayMs = 10_000

export interface Following {
  /** Opens the stream after an event; nothing when there is nothing more. */
  open: (lastEventId: string | undefined) => Promise<ReadableStream<Uint8Array> | null | undefined>
  /** Whether an event is the last one. */
  isLast: (event: AnyEvent) => boolean
  /** Whether the stream can be opened again after a failure. @param begun whether any event has come. */
  canRepeat: (error: ApiError, begun: boolean) => boolean
  /** Where to begin. */
  lastEventId?: string | undefined
  signal?: AbortSignal | undefined
  /** How long to try again without hearing anything. */
  retryForMs: number
}

/**
 * Each event of a stream once, over as many connections as it takes.
 * @throws {ApiError} what cannot be repeated, or has lasted too long. The signal's reason when it aborts.
 */
export async function * follow (
  { open, isLast, canRepeat, lastEventId, signal, retryForMs }: Following
): AsyncGenerator<AnyEvent, void> {
  let begun = false
  let failures = 0
  let heardAt = Date.now()
  for (;;) {
    let failure = connectionLost()
    try {
      signal?.throwIfAborted()
      const body = await open(lastEventId)
      if (!body) return
      for await (const event of readEvents(body)) {
        begun = true
        // One without a place in the stream is about the connection, and no sign that it works.
        if (event.event === 'error' && event.id === undefined) throw errorOfBody(event.data as never)
        failures = 0
        heardAt = Date.now()
        lastEventId = event.id ?? lastEventId
        if (event.event === 'heartbeat') continue
        if (event.event === 'shutdown') break
        yield event
        if (isLast(event)) return
      }
    } catch (error) {
      signal?.throwIfAborted()
      if (!(error instanceof ApiError)) throw error
      failure = error
    }
    if (!canRepeat(failure, begun) || Date.now() - heardAt > retryForMs) throw failure
    const delayMs = Math.min(longestDelayMs, firstDelayMs * 2 ** failures++) * (0.5 + Math.random() / 2)
    await sleep(Math.max(delayMs, failure.retryAfterMs ?? 0), signal)
  }
}

/** The service has refused to begin: as if the request had never been sent. */
export function isRefusal ({ code }: ApiError): boolean {
  return code === 'RATE_LIMITED' || code === 'SHUTTING_DOWN'
}

/** Nobody knows whether the service has carried out the request. */
export function isUnanswered ({ code, status }: ApiError): boolean {
  return code === 'UNREACHABLE' || code === 'CONNECTION_LOST' || (code === 'NOT_FROM_SERVICE' && status >= 502)
}

/** The same request may succeed later, if it changes nothing and so can be repeated. */
export function isTransient (error: ApiError): boolean {
  return isRefusal(error) || isUnanswered(error) || (error.status >= 500 && error.code !== 'NO_SPACE')
}

async function sleep (ms: number, signal: AbortSignal | undefined): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    const aborted = () => {
      clearTimeout(timer)
      reject(signal!.reason)
    }
    const timer = setTimeout(() => {
      signal?.removeEventListener('abort', aborted)
      resolve()
    }, ms)
    signal?.addEventListener('abort', aborted, { once: true })
  })
}
