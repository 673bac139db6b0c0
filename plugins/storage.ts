import fp from 'fastify-plugin'
import type { App } from 'modal'
import type { Config } from '../config.js'
import { describeImage, plainRecipe } from '../services/sandboxes/images.js'
import { AutoSync } from '../services/sync/auto-sync.js'
import { SecretReader } from '../services/sync/s3/credentials.js'
import { SyncService } from '../services/sync/service.js'

declare module 'fastify' {
  interface FastifyInstance {
    sync: SyncService
    storage: AutoSync
  }
}

interface StorageOptions { config: Config }

/** Syncs with S3: the credentials, the service, and the syncs that run automatically. */
export default fp<StorageOptions>(async (fastify, { config }) => {
  const { log, modal: { client, backend, urlInSandbox } } = fastify
  const recipe = plainRecipe({ backend, claudeImage: config.claude.image })
  const buildImage = async (app: App) => await describeImage(client, recipe).build(app)
  const secrets = new SecretReader({ client, buildImage, log })
  const sync = new SyncService({ s3: config.s3, urlInSandbox, secrets, log })
  const storage = new AutoSync(sync, log)
  fastify.decorate('sync', sync)
  fastify.decorate('storage', storage)
  // While connections are still open, so that clients waiting for a sync learn that it was stopped.
  fastify.addHook('preClose', async () => {
    storage.close()
    await sync.close()
  })
}, { name: 'storage', fastify: '5.x', dependencies: ['modal'] })
