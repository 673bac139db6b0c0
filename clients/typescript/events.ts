import { createParser, type EventSourceMessage } from 'eventsource-parser'
import { connectionLost } from './errors.js'
import type { operations } from './schema.js'

/** What a stream of an operation can say, by `event`. Others may be added: ignore what you do not know. */
type StreamOf<Name extends keyof operations> =
  operations[Name] extends { responses: { 200: { content: { 'text/event-stream': infer Event } } } } ? Event : never

/** They are about the connection, which is the client's affair. */
type OfConnection = { event: 'heartbeat' | 'shutdown' }

/** An `error` of a run belongs to it, like its other events; all others are thrown. */
export type RunEvent = Exclude<StreamOf<'streamEvents'>, OfConnection>
export type CreateEvent = Exclude<StreamOf<'createSandbox'>, OfConnection | { event: 'error' }>
export type SandboxEvent = Exclude<StreamOf<'getSandbox'>, OfConnection | { event: 'error' }>
export type ExecEvent = Exclude<StreamOf<'runCommand'>, OfConnection | { event: 'error' }>
export type SyncEvent = Exclude<StreamOf<'syncWorkspace'>, OfConnection | { event: 'error' }>

export interface AnyEvent { event: string, id?: string, data: unknown }

/**
 * The events of one request. Nothing is sent before somebody iterates over them or asks for the result; leaving the
 * loop closes the connection.
 */
export class EventStream<Event extends AnyEvent, Last extends Event['event']> implements AsyncIterable<Event> {
  readonly #events: AsyncGenerator<Event, void>
  readonly #last: Last
  #result: { data: unknown } | undefined

  /** @param last the event that has the result. */
  constructor (events: AsyncIterable<AnyEvent>, last: Last) {
    this.#last = last
    this.#events = this.#watch(events as AsyncIterable<Event>)
  }

  [Symbol.asyncIterator] (): AsyncGenerator<Event, void> {
    return this.#events
  }

  /** Reads to the end, and returns what the last event says. @throws {Error} when there was no such event. */
  async result (): Promise<Extract<Event, { event: Last }>['data']> {
    while (!(await this.#events.next()).done);
    if (this.#result === undefined) throw new Error(`There was no event ${this.#last} in what was left of the stream.`)
    return this.#result.data as Extract<Event, { event: Last }>['data']
  }

  async * #watch (events: AsyncIterable<Event>): AsyncGenerator<Event, void> {
    for await (const event of events) {
      if (event.event === this.#last) this.#result = { data: event.data }
      yield event
    }
  }
}

/** The service sends a heartbeat every ten seconds: after three missing ones the connection is dead. */
const silenceMs = 35_000

/** Server-Sent Events of an answer, until it ends. @throws {ApiError} CONNECTION_LOST when it breaks. */
export async function * readEvents (body: ReadableStream<Uint8Array>): AsyncGenerator<AnyEvent, void> {
  const reader = body.getReader()
  const decoder = new TextDecoder()
  const messages: EventSourceMessage[] = []
  const parser = createParser({ onEvent: (message) => { messages.push(message) } })
  try {
    for (;;) {
      const { done, value } = await readInTime(reader)
      if (done) return
      parser.feed(decoder.decode(value, { stream: true }))
      for (const { event = 'message', id, data } of messages.splice(0)) {
        yield { event, data: JSON.parse(data), ...id !== undefined && { id } }
      }
    }
  } finally {
    await reader.cancel().catch(() => {})
  }
}

async function readInTime (reader: ReadableStreamDefaultReader<Uint8Array>) {
  // A cancelled stream ends.
  const timer = setTimeout(() => { reader.cancel().catch(() => {}) }, silenceMs)
  try {
    return await reader.read()
  } catch (cause) {
    throw connectionLost(cause)
  } finally {
    clearTimeout(timer)
  }
}
