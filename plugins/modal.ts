import fp from 'fastify-plugin'
import { ModalClient, type Logger } from 'modal'
import type { FastifyBaseLogger } from 'fastify'
import { configured, withModalServer, type Config } from '../config.js'
import { tapBuildLogs } from '../services/sandboxes/build-log.js'

/** Where sandboxes run, and what Claude needs to reach its model from there. */
export interface Modal {
  client: ModalClient
  backend: 'modal' | 'local'
  /** True when no model key is set in local mode: a scripted stand-in answers, not Claude. */
  scripted: boolean
  /** Environment of Claude processes and of nothing else; secrets. */
  modelEnv: Readonly<Record<string, string>>
}

declare module 'fastify' {
  interface FastifyInstance { modal: Modal }
}

export interface ModalOptions { config: Config }

/** The one door to Modal. Without credentials the same SDK talks to the emulator, started here and only here. */
export default fp<ModalOptions>(async (fastify, { config }) => {
  const modelEnv = configuredModel(config)
  fastify.decorate('modal', configured(config)
    ? { client: connect(config.modal, fastify.log), backend: 'modal', scripted: false, modelEnv: modelEnv ?? {} }
    : await startLocal())
  fastify.addHook('onClose', async () => fastify.modal.client.close())

  async function startLocal (): Promise<Modal> {
    const { startEmulator } = await import('../emulator/index.js')
    const log = fastify.log.child({ part: 'emulator' })
    const emulator = await startEmulator({ ...config.local, log })
    fastify.addHook('onClose', async () => emulator.close())
    emulator.selfTest.then(({ ok, message }) => { log[ok ? 'info' : 'error'](message) })

    const token = { id: emulator.tokenId, secret: emulator.tokenSecret }
    const client = connect({ token, environment: undefined, serverUrl: emulator.url }, log)
    const scripted = modelEnv === undefined && config.claude.secretName === undefined
    return { client, backend: 'local', scripted, modelEnv: scripted ? await startModel() : modelEnv ?? {} }
  }

  async function startModel () {
    const { startScriptedModel } = await import('../emulator/model/index.js')
    const model = await startScriptedModel({ log: fastify.log.child({ part: 'scripted-model' }) })
    fastify.addHook('onClose', async () => model.close())
    fastify.log.warn('no model key is set: a scripted stand-in answers, not Claude (set ANTHROPIC_API_KEY)')
    return { ANTHROPIC_BASE_URL: model.url, ANTHROPIC_API_KEY: model.apiKey }
  }
}, { name: 'modal', fastify: '5.x' })

function connect ({ token, environment, serverUrl }: Config['modal'], log: FastifyBaseLogger): ModalClient {
  return withModalServer(serverUrl, () => new ModalClient({
    tokenId: token?.id ?? '',
    tokenSecret: token?.secret ?? '',
    ...(environment !== undefined && { environment }),
    logger: sdkLogger(log),
    grpcMiddleware: [tapBuildLogs]
  }))
}

/** Bedrock, when set, wins over the API key: so does it in the CLI itself (4.8). */
function configuredModel ({ claude: { apiKey, baseUrl, bedrock } }: Config): Record<string, string> | undefined {
  if (bedrock !== undefined) {
    return { CLAUDE_CODE_USE_BEDROCK: '1', AWS_REGION: bedrock.region, AWS_BEARER_TOKEN_BEDROCK: bedrock.apiKey }
  }
  if (apiKey === undefined) return
  return { ANTHROPIC_API_KEY: apiKey, ...(baseUrl !== undefined && { ANTHROPIC_BASE_URL: baseUrl }) }
}

/**
 * Not worth an operator's eye: the SDK warns on every sandbox of a local server that it does not use TLS there, and on
 * every list across all apps, which the reaper has to ask for, that most should ask for less.
 */
const expected = /^Using insecure TLS|^\w*[lL]ist without an `appId`/

function sdkLogger (log: FastifyBaseLogger): Logger {
  const write = (level: 'debug' | 'info' | 'warn' | 'error') => (message: string, ...details: unknown[]) => {
    log[expected.test(message) ? 'debug' : level]({ part: 'modal-sdk', details }, message)
  }
  return { debug: write('debug'), info: write('debug'), warn: write('warn'), error: write('error') }
}
