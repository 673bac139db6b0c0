import { environmentOf } from '../control/environments.js'
import { creation } from '../proto/messages.js'
import type { State } from '../control/state.js'
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

export function volumeHandlers (state: State, volumes: VolumeCatalog, idempotency: Idempotency): Handlers {
  return {
    unary: {
      VolumeGetOrCreate: (request: VolumeMessage, { metadata }) => idempotency.once(metadata, async () => {
        const { id, name, version, createdAt } = await find(request)
        return { volumeId: id, version, metadata: { version, name: name ?? '', creationInfo: { createdAt } } }
      }),

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
    if (objectCreationType === creation.ephemeral) return volumes.ephemeral(environment)
    if (objectCreationType !== creation.unspecified && objectCreationType !== creation.createIfMissing) {
      throw unimplemented('this way of creating a volume')
    }
    const createIfMissing = objectCreationType === creation.createIfMissing
    return volumes.named({ name, environment, version, createIfMissing })
  }
}
