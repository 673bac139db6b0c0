import { Type } from '@sinclair/typebox'
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'

const Alive = Type.Object({ status: Type.Literal('ok') })

/** Liveness, for whoever restarts the process. */
const health: FastifyPluginAsyncTypebox = async (fastify) => {
  fastify.get('/healthz', { logLevel: 'warn', schema: { response: { 200: Alive } } }, async () => ({ status: 'ok' as const }))
}

export default health
