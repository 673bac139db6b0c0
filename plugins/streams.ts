import fp from 'fastify-plugin'
import type { FastifyReply, FastifyRequest } from 'fastify'
import { SseStream } from '../lib/sse.js'

declare module 'fastify' {
  interface FastifyReply {
    /** Answers with Server-Sent Events. Call it when nothing can fail any more. */
    sse (): SseStream
  }
  interface FastifyRequest {
    /** Whether the client asks for Server-Sent Events; `fallback` when it asks for nothing in particular. */
    wantsSse (fallback: boolean): boolean
  }
}

export interface StreamsOptions { heartbeatMs: number }

/** Opens SSE answers, logs when they open and close (10.4), and ends them before the server closes. */
export default fp<StreamsOptions>(async (fastify, { heartbeatMs }) => {
  const open = new Set<SseStream>()

  fastify.decorateReply('sse', function (this: FastifyReply) {
    const stream = new SseStream(this, heartbeatMs)
    open.add(stream)
    this.log.info('stream opened')
    stream.signal.addEventListener('abort', () => {
      open.delete(stream)
      this.log.info({ durationMs: stream.age, clientLeft: !stream.delivered }, 'stream closed')
    }, { once: true })
    return stream
  })

  fastify.decorateRequest('wantsSse', function (this: FastifyRequest, fallback: boolean) {
    const accept = this.headers.accept ?? '*/*'
    if (accept.includes('text/event-stream')) return true
    return accept.includes('application/json') ? false : fallback
  })

  fastify.addHook('preClose', async () => {
    await Promise.all([...open].map((stream) => stream.end({ event: 'shutdown', data: {} })))
  })
}, { name: 'streams', fastify: '5.x' })
