import sensible from '@fastify/sensible'
import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox'
import Fastify, { type FastifyServerOptions } from 'fastify'
import type { Config } from './config.js'
import { randomId } from './lib/ids.js'
import auth from './plugins/auth.js'
import context from './plugins/context.js'
import cors from './plugins/cors.js'
import errors, { handleClientError, handleFrameworkError } from './plugins/errors.js'
import gateway, { gatewayPrefix } from './plugins/gateway.js'
import metrics from './plugins/metrics.js'
import modal from './plugins/modal.js'
import openapi from './plugins/openapi.js'
import reaper from './plugins/reaper.js'
import security from './plugins/security.js'
import services from './plugins/services.js'
import storage from './plugins/storage.js'
import streams from './plugins/streams.js'
import validation from './plugins/validation.js'
import web from './plugins/web.js'
import websocket from './plugins/websocket.js'
import changes from './routes/changes.js'
import exec from './routes/exec.js'
import files from './routes/files.js'
import gatewayRoutes from './routes/gateway.js'
import health from './routes/health.js'
import ports from './routes/ports.js'
import runs from './routes/runs.js'
import sandboxes from './routes/sandboxes.js'
import rules from './routes/rules.js'
import sessions from './routes/sessions.js'
import signIn from './routes/sign-in.js'
import status from './routes/status.js'
import sync from './routes/sync.js'
import terminal from './routes/terminal.js'
import volumes from './routes/volumes.js'
import { BrowserSessions } from './services/accounts/browser-sessions.js'
import { developmentAccount } from './services/accounts/development.js'
import { ModalEndedSessions } from './services/accounts/ended-sessions.js'
import { AccountRegistry } from './services/accounts/registry.js'
import { SignInLink } from './services/accounts/sign-in-link.js'

/** A prompt may have 1 MB, and JSON can double that. */
const bodyLimit = 4 * 1024 * 1024

/** Builds the service. Everything is registered here, in the order in which a request passes it. */
export async function buildApp (config: Config, logger: FastifyServerOptions['logger'] = false) {
  const app = Fastify({
    logger,
    bodyLimit,
    genReqId: () => randomId('req'),
    // Otherwise any client could forge its own address.
    trustProxy: config.trustProxy ?? false,
    // Generous for slow uploads. It limits the request only: a streamed response may take longer.
    requestTimeout: 15 * 60_000,
    http: { headersTimeout: 20_000, connectionsCheckingInterval: 5000, requireHostHeader: false },
    clientErrorHandler: handleClientError,
    frameworkErrors: handleFrameworkError,
    return503OnClosing: false,
    // Loading the emulator may take long on a busy machine.
    pluginTimeout: 60_000,
    forceCloseConnections: true,
    routerOptions: { maxParamLength: 200 }
  }).withTypeProvider<TypeBoxTypeProvider>()
  const { accounts, signInLink } = await findAccounts(config)

  // For every request: ids, errors; then validation, rate limit, authentication.
  await app.register(sensible)
  await app.register(websocket)
  await app.register(context)
  await app.register(errors)

  // From the sandboxes to the model: before all that is for accounts, as their limits and headers do not apply.
  await app.register(modal, { config })
  await app.register(gateway, { config })
  if (app.gateway !== undefined) {
    await app.register(gatewayRoutes, { prefix: gatewayPrefix, gateway: app.gateway, logLevel: 'error' })
  }

  await app.register(validation)
  await app.register(cors, { origins: config.corsOrigins })
  await app.register(security)
  const { client } = app.modal
  const secret = config.sessionSecret ?? client.profile.tokenSecret!
  const ended = new ModalEndedSessions(client)
  const browserSessions = new BrowserSessions({ accounts, ended, secret, deployment: config.deployment })
  await app.register(auth, {
    accounts,
    browserSessions,
    secure: config.publicUrl?.startsWith('https:') ?? false,
    trustedOrigins: config.corsOrigins
  })
  await app.register(streams, { heartbeatMs: config.run.heartbeatMs })
  await app.register(metrics)
  await app.register(openapi)

  // What the routes use.
  await app.register(storage, { config })
  await app.register(services, { config })
  await app.register(reaper, { config })

  // Public routes.
  await app.register(web)
  await app.register(health)
  await app.register(status)
  await app.register(signIn, { ...(signInLink !== undefined && { link: signInLink }) })

  // Routes for accounts: the hook belongs to the scope, so no route in it can lack it.
  await app.register(async (api) => {
    api.addHook('onRequest', api.requireAccount)
    await api.register(sandboxes)
    await api.register(exec)
    await api.register(terminal, { heartbeatMs: config.run.heartbeatMs })
    await api.register(files)
    await api.register(changes)
    await api.register(ports)
    await api.register(runs)
    await api.register(rules)
    await api.register(sync)
    await api.register(sessions)
  }, { prefix: '/api/modal/sandbox' })
  await app.register(async (api) => {
    api.addHook('onRequest', api.requireAccount)
    await api.register(volumes)
  }, { prefix: '/api/modal/volume' })

  return Object.assign(app, { signInCode: signInLink?.code })
}

/** Without configured accounts, local mode gets a development account, and a code for the link that signs in to it. */
async function findAccounts (config: Config) {
  const { accounts, jwt, local } = config
  const needsDevelopment = accounts === undefined && jwt.secret === undefined && jwt.jwksUrl === undefined
  if (!needsDevelopment) return { accounts: new AccountRegistry(accounts, jwt) }
  const { account, apiKey } = await developmentAccount(local.dataDir)
  return { accounts: new AccountRegistry([account], jwt), signInLink: new SignInLink(apiKey) }
}
