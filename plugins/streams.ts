import fp from 'fastify-plugin'
import type { FastifyReply, FastifyRequest } from 'fastify'
import { AppError } from '../errors.js'
import { SseStream } from '../lib/sse.js'

declare module 'fastify' {
  interface FastifyReply {
    /** Answers with Server-Sent Events. Call it when nothing can fail any more. */
    sse (): SseStream
  }
  interface FastifyInstance {
    /** How many SSE answers are open. */
    openStreams (): number
  }
  interface FastifyRequest {
    /**
     * Whether the client asks for Server-Sent Events; `fallback` when it asks for nothing in particular. If so, one of
     * the account's places for open streams is taken until the answer is over: ask before any work is begun.
     * @throws {AppError} LIMIT_REACHED.
     */
    wantsSse (fallback: boolean): boolean
  }
}

export interface StreamsOptions { heartbeatMs: number }

/** Opens SSE answers, logs when they open and close (10.4), and ends them before the server closes. */
export default fp<StreamsOptions>(async (fastify, { heartbeatMs }) => {
  const open = new Set<SseStream>()
  const places = new Places()

  fastify.decorate('openStreams', () => open.size)

  fastify.decorateReply('sse', function (this: FastifyReply) {
    const stream = new SseStream(this, heartbeatMs)
    this.log.info('stream opened')
    const closed = () => {
      open.delete(stream)
      this.log.info({ durationMs: stream.age, clientLeft: !stream.delivered }, 'stream closed')
    }
    if (stream.signal.aborted) closed()
    else {
      open.add(stream)
      stream.signal.addEventListener('abort', closed, { once: true })
    }
    return stream
  })

  fastify.decorateRequest('wantsSse', function (this: FastifyRequest, fallback: boolean) {
    const accept = this.headers.accept ?? '*/*'
    const asksForJson = !accept.includes('text/event-stream') && accept.includes('application/json')
    const wants = accept.includes('text/event-stream') || (!asksForJson && fallback)
    if (wants) places.take(this)
    return wants
  })

  fastify.addHook('onResponse', async (request) => places.leave(request))

  fastify.addHook('preClose', async () => {
    fastify.log.info({ streams: open.size }, 'closing: readers are told')
    await Promise.all([...open].map((stream) => stream.end({ event: 'shutdown', data: {} })))
  })
}, { name: 'streams', fastify: '5.x' })

/** The accounts' places for streams that are open, or about to be, in this process. */
class Places {
  readonly #taken = new Map<string, Map<FastifyRequest, () => void>>()

  take (request: FastifyRequest) {
    const { account, socket } = request
    // A route for everybody has no account to count for.
    if (account === null) return
    const taken = this.#taken.get(account.id) ?? new Map<FastifyRequest, () => void>()
    if (taken.has(request)) return
    const limit = account.limits.streams
    if (taken.size >= limit) {
      throw new AppError('LIMIT_REACHED', {
        message: `Your account may have ${limit} streams open at a time.`,
        hint: 'Close a stream first, or ask for a higher limit.',
        details: { limit }
      })
    }
    // An answer that a client did not wait for never ends, but its connection does.
    const leave = () => this.leave(request)
    socket.once('close', leave)
    this.#taken.set(account.id, taken.set(request, leave))
  }

  leave (request: FastifyRequest) {
    const id = request.account?.id
    const taken = this.#taken.get(id)
    const leave = taken?.get(request)
    if (leave === undefined) return
    request.socket.removeListener('close', leave)
    taken!.delete(request)
    if (taken!.size === 0) this.#taken.delete(id)
  }
}
