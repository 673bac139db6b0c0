import { once } from 'node:events'
import type { ServerResponse } from 'node:http'
import type { FastifyReply } from 'fastify'

export type SseEvent = {
  event: string
  /** What a client sends back as `Last-Event-ID` to go on after this event. */
  id?: string | number
  /** Anything JSON can carry; or, as `json`, what is JSON in one line already. */
} & ({ data: unknown } | { json: string })

/** One event on the wire. Names and ids are ours, but a line break in them would forge events: refuse it. */
export function encodeEvent (message: SseEvent): string {
  const { event, id } = message
  const json = 'json' in message ? message.json : JSON.stringify(message.data)
  if (/[\r\n]/.test(`${event}${id}`)) throw new TypeError('line break in an SSE event name or id')
  return `event: ${event}\n${id === undefined ? '' : `id: ${id}\n`}data: ${json}\n\n`
}

/** Many readers get the same batch: it is encoded once, and its bytes are shared by their sockets. */
const encoded = new WeakMap<readonly SseEvent[], Buffer>()

function encodeBatch (batch: readonly SseEvent[]): Buffer {
  let bytes = encoded.get(batch)
  if (bytes === undefined) encoded.set(batch, bytes = Buffer.from(batch.map(encodeEvent).join('')))
  return bytes
}

/**
 * A Server-Sent Events answer over a hijacked reply; the only code that touches `reply.raw`.
 * Do everything that can fail before you construct it: afterwards an error can only be an event.
 */
export class SseStream {
  /** Aborts when the client has left or the stream has ended. */
  readonly signal: AbortSignal
  readonly #response: ServerResponse
  readonly #closed = new AbortController()
  readonly #heartbeat: NodeJS.Timeout
  readonly #opened = Date.now()

  constructor (reply: FastifyReply, heartbeatMs: number) {
    this.signal = this.#closed.signal
    this.#response = reply.raw
    reply
      .header('content-type', 'text/event-stream; charset=utf-8')
      .header('cache-control', 'no-cache, no-transform')
      .header('x-accel-buffering', 'no')
      .hijack()
    // A POST's request 'close' fires as soon as its body is read; only the response's tells that the client left.
    this.#response.once('close', () => this.#shut())
    this.#response.on('error', () => this.#shut())
    this.#response.writeHead(200, reply.getHeaders() as Record<string, string>)
    this.#response.flushHeaders()
    this.#heartbeat = setInterval(() => this.#beat(), heartbeatMs).unref()
    if (this.#response.destroyed) this.#shut()
  }

  /** Milliseconds since the stream was opened. */
  get age (): number {
    return Date.now() - this.#opened
  }

  /** True once the client has everything that was sent and the stream was ended by us. */
  get delivered (): boolean {
    return this.#response.writableFinished
  }

  /** Sends events in one write; resolves when there is room for more, or at once when the client has left. */
  async send (...events: SseEvent[]): Promise<void> {
    await this.#write(events.map(encodeEvent).join(''))
  }

  /** The same, for events that others get, too. */
  async sendBatch (batch: readonly SseEvent[]): Promise<void> {
    await this.#write(encodeBatch(batch))
  }

  async #write (chunk: string | Buffer): Promise<void> {
    if (this.signal.aborted || this.#response.writableEnded) return
    if (this.#response.write(chunk)) return
    await once(this.#response, 'drain', { signal: this.signal }).catch(() => {})
  }

  /** Ends the stream; waits a little for the last bytes, so that a stalled client can not hold up a shutdown. */
  async end (last?: SseEvent): Promise<void> {
    clearInterval(this.#heartbeat)
    if (this.signal.aborted || this.#response.writableEnded) return
    this.#response.end(last === undefined ? undefined : encodeEvent(last))
    const patience = AbortSignal.timeout(300)
    await once(this.#response, 'close', { signal: patience }).catch(() => {})
  }

  #beat () {
    if (this.#response.writableNeedDrain) return
    this.#response.write(encodeEvent({ event: 'heartbeat', data: { time: new Date().toISOString() } }))
  }

  #shut () {
    clearInterval(this.#heartbeat)
    this.#closed.abort()
  }
}
