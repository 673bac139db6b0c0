import { environmentOf } from '../control/environments.js'
import { creation } from '../proto/messages.js'
import type { Creation, Secrets } from '../control/secrets.js'
import type { State } from '../control/state.js'
import { unimplemented } from '../control/status.js'
import type { Handlers } from './adapter.js'

interface SecretMessage {
  deploymentName: string
  environmentName: string
  objectCreationType: number
  envDict: Record<string, string>
  requiredKeys: string[]
}

interface SecretListMessage {
  environmentName: string
  pagination: { maxObjects: number, createdBefore: number } | null
}

const ways: Partial<Record<number, Creation>> = {
  [creation.createIfMissing]: 'keep', [creation.failIfExists]: 'fail', [creation.overwriteIfExists]: 'overwrite'
}

/** Named secrets are looked up, made and removed; those of `fromObject` are kept until the server ends. */
export function secretHandlers (state: State, secrets: Secrets): Handlers {
  return {
    unary: {
      async SecretGetOrCreate (request: SecretMessage) {
        const environmentName = environmentOf(state, request.environmentName)
        if (request.objectCreationType === creation.ephemeral) {
          const secretId = secrets.addEphemeral(request.envDict)
          return { secretId, metadata: { keys: Object.keys(request.envDict), environmentName } }
        }
        const { deploymentName: name, objectCreationType, envDict, requiredKeys } = request
        if (objectCreationType !== creation.unspecified) {
          const way = ways[objectCreationType]
          if (way === undefined) throw unimplemented('this way of creating a secret')
          await secrets.make(name, environmentName, envDict, way)
        }
        const { id, keys } = await secrets.idOf({ name, environment: environmentName, requiredKeys })
        return { secretId: id, metadata: { name, keys, environmentName } }
      },

      async SecretList (request: SecretListMessage) {
        const environmentName = environmentOf(state, request.environmentName)
        const { maxObjects, createdBefore } = request.pagination ?? { maxObjects: 0, createdBefore: 0 }
        const items = (await secrets.list(environmentName))
          .filter(({ createdAt }) => createdBefore === 0 || createdAt < createdBefore)
          .slice(0, maxObjects || undefined)
          .map(({ id, name, keys, createdAt }) => ({
            label: name, secretId: id, createdAt, environmentName, metadata: { name, keys, environmentName }
          }))
        return { items, environmentName }
      },

      async SecretDelete ({ secretId }: { secretId: string }) {
        await secrets.delete(secretId)
        return {}
      }
    }
  }
}
