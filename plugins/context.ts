import fp from 'fastify-plugin'
import type { FastifyRequest } from 'fastify'
import { AppError } from '../errors.js'

declare module 'fastify' {
  interface FastifyRequest {
    /** Whose and what a request is about, on every log line that concerns it. */
    ids: { accountId?: string, sandboxId?: string, runId?: string }
  }
}

/** Gives every answer its request id and every request the ids that its log lines carry (10.5). */
export default fp(async (fastify) => {
  let closing = false
  fastify.decorateRequest('ids', null as unknown as FastifyRequest['ids'])

  fastify.addHook('onRequest', async (request, reply) => {
    const { id, runId } = (request.params ?? {}) as { id?: string, runId?: string }
    request.ids = { ...(id !== undefined && { sandboxId: id }), ...(runId !== undefined && { runId }) }
    reply.header('x-request-id', request.id)
    // Both are refused here, and not by Node or Fastify, so that these answers look like all others.
    if (closing) throw new AppError('SHUTTING_DOWN', { headers: { 'retry-after': '5' } })
    if (request.host === '' && request.raw.httpVersion === '1.1') {
      throw new AppError('BAD_REQUEST', { message: 'The request has no host header.' })
    }
  })

  fastify.addHook('preClose', async () => { closing = true })
  // Nor is an expectation that nobody knows refused by Node: it may be ignored (RFC 9110, 10.1.1).
  fastify.server.on('checkExpectation', (request, response) => fastify.server.emit('request', request, response))
}, { name: 'context', fastify: '5.x' })
