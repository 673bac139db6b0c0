import { once } from 'node:events'
import type { ServerResponse } from 'node:http'
import { setTimeout as sleep } from 'node:timers/promises'
import type { ApiError, Turn } from './script.js'
import { encodeEvent, errorBody, eventsOf, messageOf, type MessageHead } from './wire.js'

/** Claude Code drops the last bytes when they arrive together with the end of the connection. */
export const cutDelayMs = 100

/**
 * Plays a turn to a client, at the turn's own pace, and stops when the connection closes. A turn that hangs leaves
 * the response open, without a timer, until the client or the server closes it.
 */
export async function answer (response: ServerResponse, turn: Turn, head: MessageHead, stream: boolean) {
  const closed = new AbortController()
  response.once('close', () => closed.abort())
  try {
    await play(response, turn, head, stream, closed.signal)
  } catch (error) {
    if (!closed.signal.aborted) throw error
  }
}

async function play (
  response: ServerResponse, turn: Turn, head: MessageHead, stream: boolean, closed: AbortSignal
) {
  if (turn.delayMs) await sleep(turn.delayMs, undefined, { signal: closed })
  const streamed = stream && turn.blocks !== undefined
  if (turn.error && !streamed) return sendError(response, turn.error)
  if (turn.hang && !streamed) return
  if (!stream) return sendJson(response, 200, messageOf(turn, head))
  await sendStream(response, turn, head, closed)
}

async function sendStream (response: ServerResponse, turn: Turn, head: MessageHead, closed: AbortSignal) {
  response.writeHead(200, { 'content-type': 'text/event-stream; charset=utf-8', 'cache-control': 'no-cache' })
  response.flushHeaders()
  let left = turn.cutAfter ?? Infinity
  for (const { event, pauseMs } of eventsOf(turn, head)) {
    if (left-- <= 0) break
    if (pauseMs > 0) await sleep(pauseMs, undefined, { signal: closed })
    if (!response.write(encodeEvent(event))) await once(response, 'drain', { signal: closed })
  }
  if (turn.cutAfter !== undefined) {
    await sleep(cutDelayMs, undefined, { signal: closed })
    response.destroy()
  } else if (!turn.hang) {
    response.end()
  }
}

export function sendJson (
  response: ServerResponse, status: number, body: object, headers: Record<string, string> = {}
) {
  response.writeHead(status, { 'content-type': 'application/json', ...headers }).end(JSON.stringify(body))
}

/** Anthropic's clients obey `x-should-retry`; without it they retry even a wrong key. */
export function sendError (response: ServerResponse, error: ApiError) {
  const retry = error.status === 429 || error.status >= 500
  sendJson(response, error.status, { ...errorBody(error), request_id: response.getHeader('request-id') }, {
    'x-should-retry': String(retry),
    ...(error.retryAfter !== undefined && { 'retry-after': String(error.retryAfter) })
  })
}
