import fp from 'fastify-plugin'
import type { FastifyRequest } from 'fastify'
import { AppError } from '../errors.js'

declare module 'fastify' {
  interface FastifyRequest {
    /** The sandbox and run that a request concerns, for its log lines; its logger adds the account. */
    ids: { sandboxId?: string, runId?: string }
  }
}

/** Gives every response its request id, and every request the ids for its log lines (10.5). */
export default fp(async (fastify) => {
  let closing = false
  fastify.decorateRequest('ids', null as unknown as FastifyRequest['ids'])

  fastify.addHook('onRequest', async (request, reply) => {
    const { id, runId } = (request.params ?? {}) as { id?: string, runId?: string }
    request.ids = { ...(id !== undefined && { sandboxId: id }), ...(runId !== undefined && { runId }) }
    reply.header('x-request-id', request.id)
    // Refused here rather than by Node or Fastify, so that these responses look like all others.
    if (closing) throw new AppError('SHUTTING_DOWN', { headers: { 'retry-after': '5' } })
    if (request.host === '' && request.raw.httpVersion === '1.1') {
      throw fastify.httpErrors.badRequest('The request has no host header.')
    }
  })

  fastify.addHook('preClose', async () => { closing = true })
  // Node would answer 417 to an unknown expectation; it may be ignored (RFC 9110, 10.1.1).
  fastify.server.on('checkExpectation', (request, response) => fastify.server.emit('request', request, response))
}, { name: 'context', fastify: '5.x', dependencies: ['@fastify/sensible'] })
