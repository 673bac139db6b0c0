import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import { errorAnswers } from '../schemas/common.js'
import { DeletedVolume, VolumeList, VolumeParams } from '../schemas/volume.js'
import { forAccount } from './errors.js'

/** The account's volumes, which outlive its sandboxes: list and delete. They are created with a sandbox. */
const volumes: FastifyPluginAsyncTypebox = async (fastify) => {
  fastify.get('/', {
    schema: {
      operationId: 'listVolumes',
      summary: 'List your volumes',
      tags: ['volumes'],
      errors: forAccount,
      response: { 200: VolumeList, ...errorAnswers }
    }
  }, async ({ account }) => ({ volumes: await fastify.sandboxes.volumes(account) }))

  fastify.delete('/:name', {
    schema: {
      operationId: 'deleteVolume',
      summary: 'Delete a volume that no sandbox mounts',
      tags: ['volumes'],
      params: VolumeParams,
      errors: [...forAccount, 'VOLUME_NOT_FOUND', 'VOLUME_IN_USE'],
      response: { 200: DeletedVolume, ...errorAnswers }
    }
  }, async ({ account, log, params: { name } }) => {
    await fastify.sandboxes.deleteVolume(account, name, log)
    return { name, deleted: true }
  })
}

export default volumes
