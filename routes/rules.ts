import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import { errorAnswers } from '../schemas/common.js'
import { Rules } from '../schemas/rules.js'
import { SandboxParams } from '../schemas/sandbox.js'
import { inSandbox } from './errors.js'

/** What Claude may do in a workspace without asking. */
const rules: FastifyPluginAsyncTypebox = async (fastify) => {
  fastify.get('/:id/permissions', {
    schema: {
      operationId: 'listPermissions',
      summary: 'List what Claude may do in this workspace without asking',
      tags: ['runs'],
      params: SandboxParams,
      errors: [...inSandbox, 'SETTINGS_UNREADABLE'],
      response: { 200: Rules, ...errorAnswers }
    }
  }, async ({ account, params: { id } }) => {
    return { allow: await fastify.rules.read(await fastify.sandboxes.open(account, id)) }
  })

  fastify.put('/:id/permissions', {
    schema: {
      operationId: 'setPermissions',
      summary: 'Set what Claude may do in this workspace without asking',
      tags: ['runs'],
      params: SandboxParams,
      body: Rules,
      errors: [...inSandbox, 'SETTINGS_UNREADABLE'],
      response: { 200: Rules, ...errorAnswers }
    }
  }, async ({ account, body, params: { id } }) => {
    return { allow: await fastify.rules.write(await fastify.sandboxes.open(account, id), body.allow) }
  })
}

export default rules
