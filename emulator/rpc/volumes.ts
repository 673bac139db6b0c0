import { environmentOf } from '../control/environments.js'
import { creation } from '../proto/messages.js'
import type { State, VolumeRecord } from '../control/state.js'
import { unimplemented } from '../control/status.js'
import type { VolumeCatalog } from '../volumes/catalog.js'
import type { Handlers } from './adapter.js'
import type { Idempotency } from './idempotency.js'

interface VolumeMessage {
  deploymentName: string
  environmentName: string
  objectCreationType: number
  version: number
}
interface VolumeListMessage {
  environmentName: string
  pagination: { maxObjects: number, createdBefore: number } | null
}

const making: number[] = [creation.createIfMissing, creation.failIfExists]

export function volumeHandlers (state: State, volumes: VolumeCatalog, idempotency: Idempotency): Handlers {
  return {
    unary: {
      VolumeGetOrCreate: (request: VolumeMessage, { metadata }) => idempotency.once(metadata, async () => {
        const volume = await find(request)
        return { volumeId: volume.id, version: volume.version, metadata: metadataOf(volume) }
      }),

      VolumeList ({ environmentName, pagination }: VolumeListMessage) {
        const { maxObjects, createdBefore } = pagination ?? { maxObjects: 0, createdBefore: 0 }
        const items = volumes.list(environmentOf(state, environmentName))
          .filter(({ createdAt }) => createdBefore === 0 || createdAt < createdBefore)
          .slice(0, maxObjects || undefined)
          .map((volume) => ({
            label: volume.name, volumeId: volume.id, createdAt: volume.createdAt, metadata: metadataOf(volume)
          }))
        return { items, environmentName }
      },

      VolumeGetById ({ volumeId }: { volumeId: string }) {
        return { volumeId, metadata: metadataOf(volumes.byId(volumeId)) }
      },

      async VolumeRename ({ volumeId, name }: { volumeId: string, name: string }) {
        await volumes.rename(volumeId, name)
        return {}
      },

      VolumeHeartbeat ({ volumeId }: { volumeId: string }) {
        volumes.heartbeat(volumeId)
        return {}
      },

      async VolumeDelete ({ volumeId }: { volumeId: string }) {
        await volumes.delete(volumeId)
        return {}
      }
    }
  }

  function find ({ deploymentName: name, environmentName, objectCreationType, version }: VolumeMessage) {
    const environment = environmentOf(state, environmentName)
    if (objectCreationType === creation.ephemeral) return volumes.ephemeral(environment, version)
    if (objectCreationType !== creation.unspecified && !making.includes(objectCreationType)) {
      throw unimplemented('this way of creating a volume')
    }
    const createIfMissing = making.includes(objectCreationType)
    const failIfExists = objectCreationType === creation.failIfExists
    return volumes.named({ name, environment, version, createIfMissing, failIfExists })
  }
}

function metadataOf ({ name, version, createdAt }: VolumeRecord): object {
  return { version, name: name ?? '', creationInfo: { createdAt } }
}
