import { once } from 'node:events'
import type { ServerResponse } from 'node:http'
import type { FastifyReply } from 'fastify'

type SseEvent = {
  event: string
  /** A client sends it back as `Last-Event-ID` to resume after this event. */
  id?: string | number
  /** Either `data`, any JSON value, or `json`, a value that is already serialized to one line. */
} & ({ data: unknown } | { json: string })

/** One event in wire format. A line break in a name or id would forge another event, so it is refused. */
export function encodeEvent (message: SseEvent): string {
  const { event, id } = message
  const json = 'json' in message ? message.json : JSON.stringify(message.data)
  if (/[\r\n]/.test(`${event}${id}`)) throw new TypeError('line break in an SSE event name or id')
  return `event: ${event}\n${id === undefined ? '' : `id: ${id}\n`}data: ${json}\n\n`
}

/** Many readers may get the same batch: it is encoded once, and their sockets share the bytes. */
const encoded = new WeakMap<readonly SseEvent[], Buffer>()

function encodeBatch (batch: readonly SseEvent[]): Buffer {
  let bytes = encoded.get(batch)
  if (bytes === undefined) encoded.set(batch, bytes = Buffer.from(batch.map(encodeEvent).join('')))
  return bytes
}

/**
 * A Server-Sent Events response over a hijacked reply; the only code that uses `reply.raw`.
 * Do everything that can fail before constructing it: afterwards, an error can only be sent as an event.
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
    // A request's 'close' fires as soon as its body has been read; only the response's means that the client left.
    this.#response.once('close', () => this.#close())
    this.#response.on('error', () => this.#close())
    this.#response.writeHead(200, reply.getHeaders() as Record<string, string>)
    this.#response.flushHeaders()
    this.#heartbeat = setInterval(() => this.#sendHeartbeat(), heartbeatMs).unref()
    if (this.#response.destroyed) this.#close()
  }

  /** Milliseconds since the stream was opened. */
  get age (): number {
    return Date.now() - this.#opened
  }

  /** True once the server has ended the stream and everything was sent. */
  get delivered (): boolean {
    return this.#response.writableFinished
  }

  /** Sends events in one write; resolves when there is room for more, or immediately when the client has left. */
  async send (...events: SseEvent[]): Promise<void> {
    await this.#write(events.map(encodeEvent).join(''))
  }

  /** Like {@link send}, for a batch that goes to several readers. */
  async sendBatch (batch: readonly SseEvent[]): Promise<void> {
    await this.#write(encodeBatch(batch))
  }

  async #write (chunk: string | Buffer): Promise<void> {
    if (this.signal.aborted || this.#response.writableEnded) return
    if (this.#response.write(chunk)) return
    await once(this.#response, 'drain', { signal: this.signal }).catch(() => {})
  }

  /** Ends the stream. It waits only briefly for the last bytes, so that a stalled client cannot delay a shutdown. */
  async end (last?: SseEvent): Promise<void> {
    clearInterval(this.#heartbeat)
    if (this.signal.aborted || this.#response.writableEnded) return
    this.#response.end(last === undefined ? undefined : encodeEvent(last))
    await once(this.#response, 'close', { signal: AbortSignal.timeout(1000) }).catch(() => {})
  }

  #sendHeartbeat () {
    if (this.#response.writableNeedDrain) return
    this.#response.write(encodeEvent({ event: 'heartbeat', data: { time: new Date().toISOString() } }))
  }

  #close () {
    clearInterval(this.#heartbeat)
    this.#closed.abort()
  }
}
