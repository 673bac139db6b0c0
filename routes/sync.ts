import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import { errorAnswers } from '../schemas/common.js'
import { SandboxParams } from '../schemas/sandbox.js'
import { SyncEvents, SyncReport, SyncSpec, SyncState } from '../schemas/sync.js'
import { ofSync } from './errors.js'

/** Syncs a workspace with S3, and reports the last sync. A sync continues when its client disconnects. */
const sync: FastifyPluginAsyncTypebox = async (fastify) => {
  fastify.post('/:id/sync', {
    schema: {
      operationId: 'syncWorkspace',
      summary: 'Sync the workspace with S3',
      tags: ['sync'],
      events: SyncEvents,
      params: SandboxParams,
      body: SyncSpec,
      errors: [...ofSync, 'VERSION_NOT_FOUND', 'LIMIT_REACHED'],
      response: { 200: SyncReport, ...errorAnswers }
    }
  }, async (request, reply) => {
    const { account, body, log, params: { id } } = request
    const owned = await fastify.sandboxes.openStored(account, id)
    if (!request.wantsSse(false)) return await fastify.sync.sync(owned, { ...body, log })

    const stream = reply.sse()
    try {
      const report = await fastify.sync.sync(owned, {
        ...body, log, onProgress: (progress) => { stream.send({ event: 'progress', data: progress }) }
      })
      await stream.end({ event: 'report', data: report })
    } catch (error) {
      await stream.end({ event: 'error', data: request.report(error) })
    }
  })

  fastify.get('/:id/sync', {
    schema: {
      operationId: 'getSyncState',
      summary: 'Get the last sync, and the versions',
      tags: ['sync'],
      params: SandboxParams,
      errors: ofSync,
      response: { 200: SyncState, ...errorAnswers }
    }
  }, async ({ account, params: { id } }) => await fastify.sync.state(await fastify.sandboxes.openStored(account, id)))
}

export default sync
