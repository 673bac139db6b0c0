import { send } from './api.js'

/** The service sends a heartbeat every 10 s; three missing ones mean that the connection is dead. */
const silenceTimeoutMs = 35_000
const checkIntervalMs = 5000

/**
 * Opens a stream of Server-Sent Events and yields `{event, id, data}`, data parsed from JSON.
 * `EventSource` can neither send a POST nor report why a request failed, so this reads the body itself.
 * Ends when the server ends the stream or the connection is lost. A failed request throws an ApiError.
 */
export async function * openEvents (method, path, { signal, onOpen, ...options } = {}) {
  const dead = new AbortController()
  signal?.addEventListener('abort', () => dead.abort(), { once: true })
  if (signal?.aborted) return
  let lastReceived = Date.now()
  const stopChecking = startChecking(() => { if (Date.now() - lastReceived > silenceTimeoutMs) dead.abort() })
  try {
    const response = await send(method, path, { ...options, accept: 'text/event-stream', signal: dead.signal })
    onOpen?.()
    const reader = response.body.getReader()
    const decoder = new TextDecoder()
    const parser = new EventParser()
    for (;;) {
      const { done, value } = await readOrEnd(reader)
      if (done) return
      lastReceived = Date.now()
      yield * parser.push(decoder.decode(value, { stream: true }))
    }
  } catch (error) {
    if (!dead.signal.aborted) throw error
  } finally {
    stopChecking()
    dead.abort()
  }
}

/** Compares clock times in `check`, as timers stop while the machine sleeps. @returns a function that stops it */
function startChecking (check) {
  const timer = setInterval(check, checkIntervalMs)
  document.addEventListener('visibilitychange', check)
  return () => {
    clearInterval(timer)
    document.removeEventListener('visibilitychange', check)
  }
}

/** A broken connection ends the stream like the server does; the caller decides whether to reconnect. */
function readOrEnd (reader) {
  return reader.read().catch(() => ({ done: true }))
}

/** Parses events from chunks of text, which may end anywhere, even within a line. */
class EventParser {
  #rest = ''
  #event = {}

  push (text) {
    const lines = text.split('\n')
    // Only the unfinished line is appended to, and it is not searched again: parsing long lines stays linear.
    lines[0] = this.#rest + lines[0]
    this.#rest = lines.pop()
    return lines
      .map((line) => this.#line(line.endsWith('\r') ? line.slice(0, -1) : line))
      .filter((event) => event !== undefined)
  }

  #line (line) {
    if (line === '') return this.#finish()
    const colon = line.indexOf(':')
    if (colon === 0) return
    const field = colon === -1 ? line : line.slice(0, colon)
    const value = colon === -1 ? '' : line.slice(line[colon + 1] === ' ' ? colon + 2 : colon + 1)
    if (field === 'data') this.#event.data = this.#event.data === undefined ? value : `${this.#event.data}\n${value}`
    else if (field === 'event' || field === 'id') this.#event[field] = value
  }

  #finish () {
    const { event = 'message', id, data } = this.#event
    this.#event = {}
    if (data === undefined) return
    try {
      return { event, id, data: JSON.parse(data) }
    } catch {
      // Not from the service: all of its events carry JSON.
      return undefined
    }
  }
}
