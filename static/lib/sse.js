import { send } from './api.js'

/** The service sends a heartbeat every 10 s; three missing ones mean that the connection is dead. */
const silence = 35_000
const lookEvery = 5000

/**
 * Opens a stream of Server-Sent Events and yields `{event, id, data}`, data parsed from JSON.
 * `EventSource` can neither post nor show why a request failed, so this reads the body itself.
 * Ends when the server ends it or the connection is lost; a failed request throws an ApiError.
 */
export async function * openEvents (method, path, { signal, onOpen, ...options } = {}) {
  const dead = new AbortController()
  signal?.addEventListener('abort', () => dead.abort(), { once: true })
  if (signal?.aborted) return
  let heard = Date.now()
  const stopWatching = watch(() => { if (Date.now() - heard > silence) dead.abort() })
  try {
    const response = await send(method, path, { ...options, accept: 'text/event-stream', signal: dead.signal })
    onOpen?.()
    const reader = response.body.getReader()
    const decoder = new TextDecoder()
    const parser = new EventParser()
    for (;;) {
      const { done, value } = await readOrEnd(reader)
      if (done) return
      heard = Date.now()
      yield * parser.push(decoder.decode(value, { stream: true }))
    }
  } catch (error) {
    if (!dead.signal.aborted) throw error
  } finally {
    stopWatching()
    dead.abort()
  }
}

/** The clock decides and not a timer, which stands still while the machine sleeps. @returns the way to end it */
function watch (look) {
  const timer = setInterval(look, lookEvery)
  document.addEventListener('visibilitychange', look)
  return () => {
    clearInterval(timer)
    document.removeEventListener('visibilitychange', look)
  }
}

/** A connection that breaks is the end of this stream; whoever reads decides whether to come back. */
function readOrEnd (reader) {
  return reader.read().catch(() => ({ done: true }))
}

/** Splits text into events. Chunks may end anywhere, also inside of a line. */
class EventParser {
  #rest = ''
  #event = {}

  push (text) {
    const lines = text.split('\n')
    // Only this one can be long; adding to it without searching keeps lines of megabytes linear.
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
      // Not ours: every event of the service carries JSON.
      return undefined
    }
  }
}
