import { randomBytes } from 'node:crypto'
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import fp from 'fastify-plugin'
import type { Config } from '../config.js'
import { AppError } from '../errors.js'
import { randomId } from '../lib/ids.js'
import { secretsOf } from '../lib/redact.js'
import gatewayRoutes from '../routes/gateway.js'
import { gatewayVariables, tokenVariables } from '../services/gateway/cli.js'
import { Gateway } from '../services/gateway/gateway.js'
import { Prices } from '../services/gateway/prices.js'
import type { Provider } from '../services/gateway/provider.js'
import { SpendingLedger } from '../services/gateway/spending.js'
import { RunTokens, type RunGrant } from '../services/gateway/token.js'
import { appName } from '../services/modal/names.js'
import { latestRunTag } from '../services/runs/registry.js'
import type { ModelAccess } from '../services/runs/start.js'
import { decodeTags } from '../services/sandboxes/tags.js'

declare module 'fastify' {
  interface FastifyInstance {
    /** How runs reach the model. */
    model: ModelAccess & { secrets: readonly string[] }
  }
}

interface GatewayOptions { config: Config }

const prefix = '/model'
/** A run may end a while after its own timer: then Modal's ends it. */
const graceMs = 60_000

/** The model gateway, or what stands in for it: the key itself in the sandboxes, where the operator has it so. */
export default fp<GatewayOptions>(async (fastify, { config }) => {
  const { client, backend, provider, modelEnv } = fastify.modal
  const { access, secretName } = config.claude
  const local = backend === 'local'
  if (provider === undefined || access !== 'gateway') {
    if (access === 'sandbox') {
      fastify.log.warn('the model key is put into the sandboxes, where whoever runs code in one can read it: ' +
        'set PUBLIC_URL to an address that Modal can reach (see SECURITY.md)')
    }
    fastify.decorate('model', { env: modelEnv, secretName, secrets: secretsOf(modelEnv) })
    return
  }

  const prices = new Prices(config.claude.prices, (model) => {
    fastify.log.warn({ model }, 'model without a price: charged as the dearest one (set MODEL_PRICES)')
  })
  const ledger = new SpendingLedger({ store: undefined, replica: randomId('replica'), log: fastify.log })
  const gateway = new Gateway({
    provider, prices, ledger, isLatestRun, tokens: new RunTokens(await secrets(provider)), log: fastify.log
  })
  await fastify.register(gatewayRoutes, { prefix, gateway, logLevel: 'error' })
  fastify.addHook('onClose', async () => { await ledger.close() })

  fastify.decorate('model', {
    env: {},
    secretName: undefined,
    secrets: gateway.secrets,
    gateway: {
      async open ({ owned, runId, account, timeoutMs, maxBudgetUsd }) {
        const variables = gatewayVariables(provider, baseUrl())
        const issuedAt = Math.floor(Date.now() / 1000)
        const token = await gateway.open({
          accountId: account.id,
          sandboxId: owned.id,
          runId,
          issuedAt,
          expiresAt: issuedAt + Math.ceil((timeoutMs + graceMs) / 1000),
          maxBudgetUsd,
          monthlyBudgetUsd: account.limits.monthlyBudgetUsd
        })
        return { env: { ...variables, ...tokenVariables(provider, token) }, settings: variables }
      },
      close: (runId) => gateway.close(runId)
    }
  })

  /** By Modal's word only. */
  async function isLatestRun ({ accountId, sandboxId, runId }: RunGrant): Promise<boolean> {
    const sandbox = await client.sandboxes.fromId(sandboxId)
    const [tags, exitCode] = await Promise.all([sandbox.getTags(), sandbox.poll()])
    return exitCode === null && decodeTags(tags)?.owner === appName(accountId) && tags[latestRunTag] === runId
  }

  /** Where sandboxes find this service. Local ones are on this machine: whatever port it has got. */
  function baseUrl (): string {
    if (!local) return config.publicUrl! + prefix
    const address = fastify.server.address() as AddressInfo | null
    if (address === null) throw new AppError('CLAUDE_FAILED', { message: 'The service does not listen yet.' })
    const host = { '0.0.0.0': '127.0.0.1', '::': '127.0.0.1' }[address.address] ?? address.address
    return `http://${host.includes(':') ? `[${host}]` : host}:${address.port}${prefix}`
  }

  /** What all replicas know. Local mode has one, and its tokens outlive a restart. */
  async function secrets ({ apiKey }: Provider): Promise<string[]> {
    if (config.gateway.secret !== undefined) return [config.gateway.secret]
    if (!local) return [apiKey, config.modal.token!.secret]
    const file = join(config.local.dataDir, 'gateway-key')
    await mkdir(config.local.dataDir, { recursive: true })
    await writeFile(file, randomBytes(32).toString('hex'), { mode: 0o600, flag: 'wx' })
      .catch((error: NodeJS.ErrnoException) => { if (error.code !== 'EEXIST') throw error })
    return [await readFile(file, 'utf8')]
  }
}, { name: 'gateway', fastify: '5.x', dependencies: ['modal', 'context', 'errors'] })
