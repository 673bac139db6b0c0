import { Type } from '@sinclair/typebox'
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import { ErrorAnswer } from '../schemas/common.js'

const Alive = Type.Object({ status: Type.Literal('ok') })

/** Liveness, for the supervisor that restarts the process; readiness, for the load balancer in front of it. */
const health: FastifyPluginAsyncTypebox = async (fastify) => {
  fastify.get('/healthz', {
    logLevel: 'warn',
    schema: {
      operationId: 'getHealth',
      summary: 'Check whether the process is alive',
      tags: ['service'],
      response: { 200: Alive }
    }
  }, async () => ({ status: 'ok' as const }))

  fastify.get('/readyz', {
    logLevel: 'warn',
    schema: {
      operationId: 'getReadiness',
      summary: 'Check whether Modal can be reached',
      tags: ['service'],
      errors: ['MODAL_UNAVAILABLE'],
      response: { 200: Alive, '5xx': ErrorAnswer }
    }
  }, async () => {
    await fastify.readiness.check()
    return { status: 'ok' as const }
  })
}

export default health
