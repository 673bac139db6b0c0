import type { Authority } from '../auth.js'
import { checkName, environmentOf } from '../control/environments.js'
import { objectId } from '../control/ids.js'
import { creation } from '../proto/messages.js'
import type { State } from '../control/state.js'
import { notFound } from '../control/status.js'
import type { Handlers } from './adapter.js'

/** The builder version that the SDK sends with image requests. */
const imageBuilderVersion = '2025.06'

/** `AppState`: an app with a name. */
const deployed = 3

interface AppMessage { appName: string, environmentName: string, objectCreationType: number }
interface EnvironmentMessage { deploymentName: string, objectCreationType: number }

/** Sign-in, environments, apps, and proxies, of which there are none. */
export function appHandlers (state: State, authority: Authority): Handlers {
  return {
    unary: {
      ClientHello: () => ({ imageBuilderVersion }),
      AuthTokenGet: async () => ({ token: await authority.clientToken() }),

      async EnvironmentGetOrCreate ({ deploymentName, objectCreationType }: EnvironmentMessage) {
        const { environments } = state.records
        const missing = deploymentName !== '' && !environments.includes(deploymentName)
        if (missing && objectCreationType === creation.createIfMissing) {
          environments.push(checkName(deploymentName, 'Environment'))
          await state.save()
        }
        const name = environmentOf(state, deploymentName)
        const settings = { imageBuilderVersion, webhookSuffix: '' }
        return { environmentId: `en-${name}`, metadata: { name, settings } }
      },

      ProxyGet ({ name, environmentName }: { name: string, environmentName: string }) {
        environmentOf(state, environmentName)
        throw notFound(`Proxy '${name}' not found`)
      },

      async AppGetOrCreate ({ appName, environmentName, objectCreationType }: AppMessage) {
        const environment = environmentOf(state, environmentName)
        const { apps } = state.records
        let app = apps.find((app) => app.name === appName && app.environment === environment)
        if (!app) {
          if (objectCreationType !== creation.createIfMissing) throw notFound(`App '${appName}' not found`)
          app = { id: objectId('ap'), name: checkName(appName, 'App'), environment }
          apps.push(app)
          await state.save()
        }
        return { appId: app.id, handleMetadata: { appId: app.id, environmentName: environment } }
      },

      AppList ({ environmentName }: { environmentName: string }) {
        const environment = environmentOf(state, environmentName)
        const apps = state.records.apps.filter((app) => app.environment === environment)
        return { apps: apps.map(({ id, name }) => ({ appId: id, name, description: name, state: deployed })) }
      }
    }
  }
}
