import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import { errorAnswers } from '../schemas/common.js'
import { OpenPorts, PortAccess, PortParams } from '../schemas/port.js'
import { SandboxParams } from '../schemas/sandbox.js'
import { inSandbox } from './errors.js'

/** What listens in a sandbox, and the way to it. */
const ports: FastifyPluginAsyncTypebox = async (fastify) => {
  fastify.get('/:id/ports', {
    schema: {
      operationId: 'listPorts',
      summary: 'List the ports on which programs in the sandbox listen',
      tags: ['ports'],
      params: SandboxParams,
      errors: inSandbox,
      response: { 200: OpenPorts, ...errorAnswers }
    }
  }, async ({ account, params: { id } }) => ({ ports: await fastify.ports.list(account, id) }))

  fastify.post('/:id/ports/:port', {
    schema: {
      operationId: 'accessPort',
      summary: 'Get a URL and a token for a port of the sandbox',
      tags: ['ports'],
      params: PortParams,
      errors: [...inSandbox, 'NETWORK_BLOCKED', 'NOT_SUPPORTED'],
      response: { 200: PortAccess, ...errorAnswers }
    }
  }, async ({ account, params: { id, port }, ids, log }, reply) => {
    const access = await fastify.ports.access(account, id, port)
    log.info({ ...ids, port }, 'access to a port given')
    reply.cacheControl('no-store')
    return access
  })
}

export default ports
