import {
  Metadata, status, type handleClientStreamingCall, type handleServerStreamingCall, type handleUnaryCall,
  type ServerWritableStream, type UntypedHandleCall
} from '@grpc/grpc-js'
import type { Log } from '../log.js'
import { toStatus } from '../control/status.js'
import { arrival, type Distance } from './distance.js'

/** What a handler knows about its call besides the request. */
export interface Context {
  metadata: Metadata
  /** Aborted when the client disconnects, cancels or reaches its deadline. */
  signal: AbortSignal
  /** The task that the bearer token is valid for; empty on the control plane. */
  taskId: string
  /** Sends a text for people with the answer, which the SDK logs as a warning, once each. */
  warn: (text: string) => void
}

/** Of a trailer: percent-encoded texts, with commas between. */
const warningHeader = 'x-modal-warning'

export type Unary = (request: any, context: Context) => object | Promise<object>
type ServerStream = (request: any, context: Context) => AsyncIterable<object>
type ClientStream = (requests: AsyncIterable<any>, context: Context) => Promise<object>

/** Handlers are plain functions that return or yield answers and throw StatusErrors. */
export interface Handlers {
  unary?: Record<string, Unary>
  serverStream?: Record<string, ServerStream>
  clientStream?: Record<string, ClientStream>
}

/** Checks the caller first of all. Returns the task id of a command router token, or an empty string. */
type Authenticate = (metadata: Metadata) => string | Promise<string>

/** What all kinds of gRPC calls have in common. */
interface Call {
  metadata: Metadata
  cancelled: boolean
  on (event: 'cancelled', listener: () => void): unknown
}

/** Turns plain handlers into gRPC ones; authentication, cancellation, backpressure and errors are handled here. */
export class Adapter {
  readonly #authenticate: Authenticate
  readonly #log: Log
  readonly #distance: Distance

  constructor (authenticate: Authenticate, log: Log, distance: Distance) {
    this.#authenticate = authenticate
    this.#log = log
    this.#distance = distance
  }

  implementation (handlers: Handlers): Record<string, UntypedHandleCall> {
    const entries = <T>(table: Record<string, T> | undefined, adapt: (name: string, handler: T) => UntypedHandleCall) =>
      Object.entries(table ?? {}).map(([name, handler]) => [name, adapt(name, handler)] as const)
    return Object.fromEntries([
      ...entries(handlers.unary, (name, handler) => this.#unary(name, handler)),
      ...entries(handlers.serverStream, (name, handler) => this.#serverStream(name, handler)),
      ...entries(handlers.clientStream, (name, handler) => this.#clientStream(name, handler))
    ])
  }

  #unary (name: string, handler: Unary): handleUnaryCall<any, any> {
    return (call, callback) => {
      const trailer = new Metadata()
      const travelled = arrival(this.#distance, name, call.request)
      this.#context(call, trailer)
        .then((context) => handler(call.request, context))
        .finally(travelled)
        .then(
          (answer) => callback(null, answer, trailer),
          (error: unknown) => callback(this.#failure(error, name, call))
        )
    }
  }

  #clientStream (name: string, handler: ClientStream): handleClientStreamingCall<any, any> {
    return (call, callback) => {
      this.#context(call)
        .then((context) => handler(call, context))
        .finally(arrival(this.#distance, name, undefined))
        .then((answer) => callback(null, answer), (error: unknown) => callback(this.#failure(error, name, call)))
    }
  }

  #serverStream (name: string, handler: ServerStream): handleServerStreamingCall<any, any> {
    return (call) => {
      const travelled = arrival(this.#distance, name, call.request)
      this.#context(call)
        .then((context) => pump(handler(call.request, context), call, context.signal, travelled))
        .finally(travelled)
        .then(() => call.end(), (error: unknown) => call.emit('error', this.#failure(error, name, call)))
    }
  }

  async #context (call: Call, trailer = new Metadata()): Promise<Context> {
    const cancelled = new AbortController()
    call.on('cancelled', () => cancelled.abort())
    if (call.cancelled) cancelled.abort()
    const taskId = await this.#authenticate(call.metadata)
    const warn = (text: string) => { trailer.add(warningHeader, encodeURIComponent(text)) }
    return { metadata: call.metadata, signal: cancelled.signal, taskId, warn }
  }

  #failure (error: unknown, name: string, call: Call) {
    // Nobody reads this answer, and an aborted wait is how a cancelled call normally ends: nothing to log.
    if (call.cancelled) return { code: status.CANCELLED, details: 'The client cancelled the call' }
    return toStatus(error, name, this.#log)
  }
}

/**
 * Writes as fast as the client reads, and stops when the client is gone. While a write is being flushed, output piles
 * up in its file, so a fast stream travels in few large messages.
 */
async function pump (
  items: AsyncIterable<object>, call: ServerWritableStream<any, any>, signal: AbortSignal,
  travelled: () => Promise<void>
) {
  for await (const item of items) {
    await travelled()
    if (signal.aborted) return
    await flush(call, item, signal)
  }
}

/** Also ends on `signal`: the callback of a write is never called when the stream is destroyed before. */
function flush (call: ServerWritableStream<any, any>, item: object, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const done = () => {
      signal.removeEventListener('abort', done)
      resolve()
    }
    signal.addEventListener('abort', done, { once: true })
    call.write(item, done)
  })
}

/** Resolves after `milliseconds`, or once `promise` settles or the signal is aborted. Never rejects. */
export async function settledWithin (promise: Promise<unknown>, milliseconds: number, signal: AbortSignal) {
  if (signal.aborted) return
  const { promise: stopped, resolve } = withResolvers()
  const timer = setTimeout(resolve, milliseconds)
  signal.addEventListener('abort', resolve, { once: true })
  await Promise.race([promise.catch(() => {}), stopped])
  clearTimeout(timer)
  signal.removeEventListener('abort', resolve)
}

function withResolvers () {
  let resolve = () => {}
  const promise = new Promise<void>((_resolve) => { resolve = _resolve })
  return { promise, resolve }
}
