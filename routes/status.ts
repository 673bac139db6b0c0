import { Type } from '@sinclair/typebox'
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import { AppError } from '../errors.js'
import { ErrorAnswer } from '../schemas/common.js'
import { forEverybody } from './errors.js'

const Status = Type.Object({
  configured: Type.Boolean({ description: 'Whether Modal credentials are set.' }),
  backend: Type.Union([Type.Literal('modal'), Type.Literal('local')]),
  model: Type.Union([Type.Literal('claude'), Type.Literal('scripted')]),
  account: Type.Union([Type.String(), Type.Null()], { description: 'The account you are signed in to.' })
})

/** What the service runs on (9.6). Public: the web UI needs it before anyone has signed in. */
const status: FastifyPluginAsyncTypebox = async (fastify) => {
  fastify.get('/api/modal/status', {
    schema: {
      operationId: 'getStatus',
      summary: 'Get what the service runs on',
      tags: ['service'],
      errors: forEverybody,
      response: { 200: Status, '5xx': ErrorAnswer }
    }
  }, async (request) => {
    const { backend, scripted } = fastify.modal
    const account = await fastify.identify(request).catch((error: unknown) => {
      // Nobody knows whether you are signed in: saying that you are not would be wrong.
      if (error instanceof AppError && error.statusCode >= 500) throw error
      return undefined
    })
    return {
      configured: backend === 'modal',
      backend,
      model: scripted ? 'scripted' as const : 'claude' as const,
      account: account?.id ?? null
    }
  })
}

export default status
