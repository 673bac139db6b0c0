import fp from 'fastify-plugin'
import { ExperimentalOutboundPolicy, ModalClient, type Logger } from 'modal'
import type { FastifyBaseLogger } from 'fastify'
import { configured, withModalServer, type Config } from '../config.js'
import type { Provider } from '../services/gateway/provider.js'
import { callModal, lookupMs } from '../services/modal/call.js'
import { tapEndings } from '../services/modal/ending.js'
import { tapCreates } from '../services/modal/recent.js'
import { tapBuildLogs } from '../services/sandboxes/build-log.js'

/** Where sandboxes run, and the environment in which Claude reaches its model from there. */
interface Modal {
  client: ModalClient
  backend: 'modal' | 'local'
  /** True in local mode without a model key: a scripted model answers instead of Claude. */
  scripted: boolean
  /** Environment in which Claude itself has the key. It holds secrets. */
  modelEnv: Readonly<Record<string, string>>
  /** The model that is configured, if any. */
  provider: Provider | undefined
  /** A URL that the service can reach, as sandboxes have to write it: in local mode, their loopback is another one. */
  urlInSandbox: (url: string) => string
  /** How Modal itself puts the key of its secret into requests to the model, where the service does not know it. */
  replacement?: { domain: string, policy: () => Promise<ExperimentalOutboundPolicy> }
}

declare module 'fastify' {
  interface FastifyInstance { modal: Modal }
}

interface ModalOptions { config: Config }

/** The only place that connects to Modal. Without credentials the same SDK talks to the emulator, which starts here. */
export default fp<ModalOptions>(async (fastify, { config }) => {
  const provider = configuredModel(config)
  fastify.decorate('modal', configured(config)
    ? {
        client: connect(config.modal, fastify.log),
        backend: 'modal',
        scripted: false,
        provider,
        modelEnv: environment(provider),
        urlInSandbox: (url) => url
      }
    : await startLocal())
  if (config.claude.access === 'replacement') fastify.modal.replacement = replaceKey(fastify.modal.client, config)
  fastify.log.info({ backend: fastify.modal.backend, environment: config.modal.environment }, 'Modal client created')
  fastify.addHook('onClose', async () => fastify.modal.client.close())

  async function startLocal (): Promise<Modal> {
    const { startEmulator } = await import('../emulator/index.js')
    const log = fastify.log.child({ part: 'emulator' })
    const emulator = await startEmulator({ ...config.local, log })
    fastify.addHook('onClose', async () => emulator.close())
    emulator.selfTest.then(({ ok, message }) => { log[ok ? 'info' : 'error'](message) })

    const token = { id: emulator.tokenId, secret: emulator.tokenSecret }
    const client = connect({ token, environment: undefined, serverUrl: emulator.url }, log)
    const scripted = provider === undefined && config.claude.secretName === undefined
    const model = scripted ? await startModel() : provider
    const { urlInSandbox } = emulator
    return { client, backend: 'local', scripted, provider: model, modelEnv: environment(model, urlInSandbox), urlInSandbox }
  }

  async function startModel (): Promise<Provider> {
    const { startScriptedModel } = await import('../emulator/model/index.js')
    const model = await startScriptedModel({ log: fastify.log.child({ part: 'scripted-model' }) })
    fastify.addHook('onClose', async () => model.close())
    fastify.log.warn('no model key is set: a scripted model answers instead of Claude (set ANTHROPIC_API_KEY)')
    return { kind: 'anthropic', baseUrl: model.url, apiKey: model.apiKey }
  }
}, { name: 'modal', fastify: '5.x' })

/**
 * How long the SDK repeats a call that Modal throttles; by default for ever. Less than any deadline of ours, so that
 * the client is told why, and nothing is created after it was told that it failed.
 */
const maxThrottleWaitSecs = 20

/** A client of Modal, or of another server that speaks its protocol. */
export function connect ({ token, environment, serverUrl }: Config['modal'], log: SdkLog): ModalClient {
  return withModalServer(serverUrl, () => new ModalClient({
    tokenId: token?.id ?? '',
    tokenSecret: token?.secret ?? '',
    ...(environment !== undefined && { environment }),
    maxThrottleWaitSecs,
    logger: sdkLogger(log),
    grpcMiddleware: [tapBuildLogs, tapEndings, tapCreates]
  }))
}

/** Bedrock takes precedence over the API key, as in the CLI itself (4.8). */
function configuredModel ({ claude: { apiKey, baseUrl, bedrock } }: Config): Provider | undefined {
  if (bedrock !== undefined) return { kind: 'bedrock', ...bedrock }
  if (apiKey !== undefined) return { kind: 'anthropic', apiKey, baseUrl: baseUrl ?? 'https://api.anthropic.com' }
}

/** Of sandboxes that are created from now on: a policy is part of a sandbox. */
export function replaceKey (client: ModalClient, { claude: { baseUrl, secretName } }: Config): NonNullable<Modal['replacement']> {
  const domain = baseUrl === undefined ? 'api.anthropic.com' : new URL(baseUrl).hostname
  const policy = async () => {
    const secret = await callModal('model secret', lookupMs, () => client.secrets.fromName(secretName!), {
      notFound: 'CLAUDE_FAILED'
    })
    const headers = { 'x-api-key': '$ANTHROPIC_API_KEY' }
    return new ExperimentalOutboundPolicy().withHeaderReplacement({ domain, headers, secret })
  }
  return { domain, policy }
}

function environment (provider: Provider | undefined, urlInSandbox = (url: string) => url): Record<string, string> {
  if (provider === undefined) return {}
  const { apiKey } = provider
  const baseUrl = provider.baseUrl === undefined ? undefined : urlInSandbox(provider.baseUrl)
  return provider.kind === 'anthropic'
    ? { ANTHROPIC_API_KEY: apiKey, ANTHROPIC_BASE_URL: provider.baseUrl }
    : {
        CLAUDE_CODE_USE_BEDROCK: '1',
        AWS_REGION: provider.region,
        AWS_BEARER_TOKEN_BEDROCK: apiKey,
        ...(baseUrl !== undefined && { ANTHROPIC_BEDROCK_BASE_URL: baseUrl })
      }
}

/**
 * Warnings of the SDK that mean nothing here: that it uses no TLS, for every sandbox of a local server; and that a list
 * is not restricted to one app, which is what the reaper needs.
 */
const expectedWarnings = /^Using insecure TLS|^\w*[lL]ist without an `appId`/

type SdkLog = Pick<FastifyBaseLogger, 'debug' | 'info' | 'warn' | 'error'>

function sdkLogger (log: SdkLog): Logger {
  const write = (level: 'debug' | 'info' | 'warn' | 'error') => (message: string, ...details: unknown[]) => {
    log[expectedWarnings.test(message) ? 'debug' : level]({ part: 'modal-sdk', details }, message)
  }
  return { debug: write('debug'), info: write('debug'), warn: write('warn'), error: write('error') }
}
