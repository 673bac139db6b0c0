import fp from 'fastify-plugin'
import type { FastifyReply, FastifyRequest } from 'fastify'
import { AppError } from '../errors.js'
import { SseStream } from '../lib/sse.js'

declare module 'fastify' {
  interface FastifyReply {
    /** Responds with Server-Sent Events. Call it when nothing can fail any more. */
    sse (): SseStream
  }
  interface FastifyInstance {
    /** How many SSE responses are open. */
    openStreams (): number
  }
  interface FastifyRequest {
    /**
     * Whether the client accepts Server-Sent Events; `fallback` when it states no preference. If so, this takes one of
     * the account's stream slots until the response has ended: call it before any work starts.
     * @throws {AppError} LIMIT_REACHED.
     */
    wantsSse (fallback: boolean): boolean
    /** Takes such a slot for another kind of stream, until its connection closes. @throws {AppError} LIMIT_REACHED. */
    takeStreamSlot (): void
    /** Whether the client would rather not wait for the result: `Prefer: respond-async` (RFC 7240). */
    prefersAsync (): boolean
  }
}

interface StreamsOptions { heartbeatMs: number }

/** Opens SSE responses, logs when they open and close (10.4), and ends them before the server closes. */
export default fp<StreamsOptions>(async (fastify, { heartbeatMs }) => {
  const open = new Set<SseStream>()
  const slots = new StreamSlots()

  fastify.decorate('openStreams', () => open.size)

  fastify.decorateReply('sse', function (this: FastifyReply) {
    const { ids } = this.request
    const stream = new SseStream(this, heartbeatMs)
    this.log.info({ ...ids }, 'stream opened')
    const onClosed = () => {
      open.delete(stream)
      this.log.info({ ...ids, durationMs: stream.age, clientLeft: !stream.delivered }, 'stream closed')
    }
    if (stream.signal.aborted) onClosed()
    else {
      open.add(stream)
      stream.signal.addEventListener('abort', onClosed, { once: true })
    }
    return stream
  })

  fastify.decorateRequest('wantsSse', function (this: FastifyRequest, fallback: boolean) {
    const accept = this.headers.accept ?? '*/*'
    const prefersJson = !accept.includes('text/event-stream') && accept.includes('application/json')
    const wants = accept.includes('text/event-stream') || (!prefersJson && fallback)
    if (wants) this.takeStreamSlot()
    return wants
  })

  fastify.decorateRequest('takeStreamSlot', function (this: FastifyRequest) { slots.acquire(this) })

  fastify.decorateRequest('prefersAsync', function (this: FastifyRequest) {
    const preferences = [this.headers.prefer ?? []].flat().join().split(',')
    return preferences.some((preference) => /^\s*respond-async\s*(;|$)/i.test(preference))
  })

  fastify.addHook('onResponse', async (request) => slots.release(request))

  fastify.addHook('preClose', async () => {
    fastify.log.info({ streams: open.size }, 'closing open streams')
    await Promise.all([...open].map((stream) => stream.end({ event: 'shutdown', data: {} })))
  })
}, { name: 'streams', fastify: '5.x', dependencies: ['context'] })

/** How many streams each account has open, or is about to open, in this process. */
class StreamSlots {
  /** By account: the requests that hold a slot, each with its listener on the socket. */
  readonly #held = new Map<string, Map<FastifyRequest, () => void>>()

  acquire (request: FastifyRequest) {
    const { account, socket } = request
    // Public routes have no account whose slots could be counted.
    if (account === null) return
    const held = this.#held.get(account.id) ?? new Map<FastifyRequest, () => void>()
    if (held.has(request)) return
    const limit = account.limits.streams
    if (held.size >= limit) {
      throw new AppError('LIMIT_REACHED', {
        message: `Your account may have ${limit} open streams at a time.`,
        hint: 'Close a stream first, or ask for a higher limit.',
        details: { limit }
      })
    }
    // When the client leaves before a response, that response never ends, but the connection does.
    const release = () => this.release(request)
    socket.once('close', release)
    this.#held.set(account.id, held.set(request, release))
  }

  release (request: FastifyRequest) {
    const id = request.account?.id
    const held = this.#held.get(id)
    const listener = held?.get(request)
    if (listener === undefined) return
    request.socket.removeListener('close', listener)
    held!.delete(request)
    if (held!.size === 0) this.#held.delete(id)
  }
}
