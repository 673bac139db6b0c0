import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import { ErrorAnswer } from '../schemas/common.js'
import { DeletedVolume, VolumeList, VolumeParams } from '../schemas/volume.js'

const errors = { '4xx': ErrorAnswer, '5xx': ErrorAnswer }

/** The account's volumes, which outlive its sandboxes: list and delete. They are created with a sandbox. */
const volumes: FastifyPluginAsyncTypebox = async (fastify) => {
  fastify.get('/', {
    schema: {
      operationId: 'listVolumes',
      summary: 'List your volumes',
      tags: ['volumes'],
      response: { 200: VolumeList, ...errors }
    }
  }, async ({ account }) => ({ volumes: await fastify.sandboxes.volumes(account) }))

  fastify.delete('/:name', {
    schema: {
      operationId: 'deleteVolume',
      summary: 'Delete a volume that no sandbox mounts',
      tags: ['volumes'],
      params: VolumeParams,
      response: { 200: DeletedVolume, ...errors }
    }
  }, async ({ account, log, params: { name } }) => {
    await fastify.sandboxes.deleteVolume(account, name, log)
    return { name, deleted: true }
  })
}

export default volumes
