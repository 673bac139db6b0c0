import fp from 'fastify-plugin'
import type { Config } from '../config.js'
import { redactor } from '../lib/redact.js'
import type { Provider } from '../services/gateway/provider.js'
import { ChangesService } from '../services/changes/service.js'
import { FileService } from '../services/files/service.js'
import { RunService } from '../services/runs/service.js'
import { WorkspaceRules } from '../services/runs/rules.js'
import { SessionService } from '../services/runs/sessions.js'
import { Ports } from '../services/sandboxes/ports.js'
import { Readiness } from '../services/sandboxes/readiness.js'
import { SandboxService } from '../services/sandboxes/service.js'
import { Terminals } from '../services/sandboxes/terminals.js'
import { decodeTags } from '../services/sandboxes/tags.js'

declare module 'fastify' {
  interface FastifyInstance {
    sandboxes: SandboxService
    terminals: Terminals
    runs: RunService
    readiness: Readiness
    files: FileService
    changes: ChangesService
    ports: Ports
    sessions: SessionService
    rules: WorkspaceRules
  }
}

interface ServicesOptions { config: Config }

/** Constructs the services from the configuration and the Modal client; they do not depend on Fastify. */
export default fp<ServicesOptions>(async (fastify, { config }) => {
  const { client, backend, replacement, provider, urlInSandbox } = fastify.modal
  const { log, model, storage } = fastify
  const { image: claudeImage, version: claudeVersion, registry: claudeRegistry } = config.claude
  const image = { backend, claudeImage, claudeVersion, claudeRegistry: urlInSandbox(claudeRegistry) }
  const { gateway } = fastify
  const hostOfModel = () => gateway ? new URL(config.publicUrl!).hostname : replacement?.domain ?? hostOf(provider)
  const modelHost = backend === 'modal' ? hostOfModel() : undefined
  const sandboxes = new SandboxService({
    client,
    log,
    image,
    timeouts: config.sandbox,
    deployment: config.deployment,
    storage,
    replacement,
    modelHost,
    computePrices: config.computePrices
  })
  const runs = new RunService({
    client,
    log: fastify.log,
    model,
    timeouts: config.run,
    ownerOf: (tags) => decodeTags(tags)?.owner,
    onCompleted: (owned) => { storage.afterRun(owned) }
  })
  const terminals = new Terminals()
  fastify.decorate('sandboxes', sandboxes)
  fastify.decorate('terminals', terminals)
  fastify.decorate('runs', runs)
  fastify.decorate('readiness', new Readiness(client))
  fastify.decorate('files', new FileService(sandboxes))
  fastify.decorate('changes', new ChangesService(sandboxes))
  fastify.decorate('ports', new Ports(sandboxes))
  fastify.decorate('rules', new WorkspaceRules())
  fastify.decorate('sessions', new SessionService({
    redact: redactor(model.secrets),
    version: (owned) => runs.version(owned),
    activeRun: (owned, sessionId) => runs.activeOf(owned, sessionId),
    onChanged: (owned) => runs.noteChange(owned)
  }))
  // In local mode there is nothing to build.
  if (backend === 'modal') fastify.addHook('onReady', async () => { sandboxes.buildDefaultImage() })
  // Hooks run in this order: readers are notified (streams), runs without readers are stopped, Modal is disconnected.
  fastify.addHook('onClose', async () => { await Promise.all([runs.close(), sandboxes.close(), terminals.close()]) })
}, { name: 'services', fastify: '5.x', dependencies: ['modal', 'gateway', 'storage'] })

/** Where Claude itself calls its model, when it has the key. */
function hostOf (provider: Provider | undefined): string | undefined {
  if (provider === undefined) return
  const { baseUrl } = provider
  if (baseUrl !== undefined) return new URL(baseUrl).hostname
  return provider.kind === 'bedrock' ? `bedrock-runtime.${provider.region}.amazonaws.com` : undefined
}
