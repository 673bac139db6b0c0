import { environmentOf } from '../control/environments.js'
import { creation } from '../proto/messages.js'
import type { Secrets } from '../control/secrets.js'
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

/** Named secrets are looked up; those of `fromObject` are kept until the server ends. */
export function secretHandlers (state: State, secrets: Secrets): Handlers {
  return {
    unary: {
      async SecretGetOrCreate (request: SecretMessage) {
        const environmentName = environmentOf(state, request.environmentName)
        if (request.objectCreationType === creation.ephemeral) {
          const secretId = secrets.addEphemeral(request.envDict)
          return { secretId, metadata: { keys: Object.keys(request.envDict), environmentName } }
        }
        if (request.objectCreationType !== creation.unspecified) {
          throw unimplemented('named secrets can be created in its configuration only')
        }
        const { id, keys } = await secrets.idOf(request.deploymentName, request.requiredKeys)
        return { secretId: id, metadata: { name: request.deploymentName, keys, environmentName } }
      },

      SecretDelete ({ secretId }: { secretId: string }) {
        secrets.delete(secretId)
        return {}
      }
    }
  }
}
