import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import { errorAnswers } from '../schemas/common.js'
import { SandboxParams } from '../schemas/sandbox.js'
import {
  DeletedSession, SessionChange, SessionList, SessionName, SessionPage, SessionParams, SessionQuery
} from '../schemas/session.js'
import { inSandbox } from './errors.js'

/** Conversations with Claude that are stored on the sandbox's volume. */
const sessions: FastifyPluginAsyncTypebox = async (fastify) => {
  fastify.get('/:id/sessions', {
    schema: {
      operationId: 'listSessions',
      summary: 'List the conversations on the volume',
      tags: ['sessions'],
      params: SandboxParams,
      errors: inSandbox,
      response: { 200: SessionList, ...errorAnswers }
    }
  }, async ({ account, params: { id } }) => {
    return { sessions: await fastify.sessions.list(await fastify.sandboxes.find(account, id)) }
  })

  fastify.get('/:id/sessions/:sessionId', {
    schema: {
      operationId: 'listMessages',
      summary: 'List the messages of a conversation',
      tags: ['sessions'],
      params: SessionParams,
      querystring: SessionQuery,
      errors: [...inSandbox, 'SESSION_NOT_FOUND'],
      response: { 200: SessionPage, ...errorAnswers }
    }
  }, async ({ account, params: { id, sessionId }, query: { after, limit } }) => {
    const owned = await fastify.sandboxes.find(account, id)
    return await fastify.sessions.messages(owned, sessionId, Number(after ?? 0), limit)
  })

  fastify.patch('/:id/sessions/:sessionId', {
    schema: {
      operationId: 'renameSession',
      summary: 'Rename a conversation',
      tags: ['sessions'],
      params: SessionParams,
      body: SessionChange,
      errors: [...inSandbox, 'SESSION_NOT_FOUND'],
      response: { 200: SessionName, ...errorAnswers }
    }
  }, async ({ account, body, params: { id, sessionId } }) => {
    return await fastify.sessions.rename(await fastify.sandboxes.open(account, id), sessionId, body.title)
  })

  fastify.delete('/:id/sessions/:sessionId', {
    schema: {
      operationId: 'deleteSession',
      summary: 'Delete a conversation and its runs',
      tags: ['sessions'],
      params: SessionParams,
      errors: [...inSandbox, 'SESSION_NOT_FOUND', 'RUN_ACTIVE'],
      response: { 200: DeletedSession, ...errorAnswers }
    }
  }, async ({ account, params: { id, sessionId } }) => {
    return await fastify.sessions.delete(await fastify.sandboxes.open(account, id), sessionId)
  })
}

export default sessions
