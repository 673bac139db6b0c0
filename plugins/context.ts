import fp from 'fastify-plugin'
import type { FastifyRequest } from 'fastify'

declare module 'fastify' {
  interface FastifyRequest {
    /** Whose and what a request is about, on every log line that concerns it. */
    ids: { accountId?: string, sandboxId?: string, runId?: string }
  }
}

/** Gives every answer its request id and every request the ids that its log lines carry (10.5). */
export default fp(async (fastify) => {
  fastify.decorateRequest('ids', null as unknown as FastifyRequest['ids'])

  fastify.addHook('onRequest', async (request, reply) => {
    const { id, runId } = (request.params ?? {}) as { id?: string, runId?: string }
    request.ids = { ...(id !== undefined && { sandboxId: id }), ...(runId !== undefined && { runId }) }
    reply.header('x-request-id', request.id)
  })
}, { name: 'context', fastify: '5.x' })
