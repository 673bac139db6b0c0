import { randomBytes } from 'node:crypto'
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import fp from 'fastify-plugin'
import type { Config } from '../config.js'
import { AppError } from '../errors.js'
import { randomId } from '../lib/ids.js'
import { secretsOf } from '../lib/redact.js'
import { gatewayVariables, tokenVariables } from '../services/gateway/cli.js'
import { DirectoryObjects, StoredCounters, type Objects } from '../services/gateway/counters.js'
import { Gateway } from '../services/gateway/gateway.js'
import { Prices } from '../services/gateway/prices.js'
import type { Provider } from '../services/gateway/provider.js'
import { SpendingLedger } from '../services/gateway/spending.js'
import { RunTokens, type RunGrant } from '../services/gateway/token.js'
import { withDeadline } from '../services/modal/call.js'
import { appName } from '../services/modal/names.js'
import { runState, tagEndedRun, type RunState } from '../services/modal/run-tags.js'
import type { ModelAccess } from '../services/runs/start.js'
import type { OwnedSandbox } from '../services/sandboxes/owned.js'
import { decodeTags, type StorageRecord } from '../services/sandboxes/tags.js'

declare module 'fastify' {
  interface FastifyInstance {
    /** How runs reach the model. */
    model: ModelAccess & { secrets: readonly string[] }
    /** Where there is one: runs do without, where Modal has the key or it is in the sandbox. */
    gateway?: Gateway
  }
}

interface GatewayOptions { config: Config }

/** Of the routes of the gateway. */
export const gatewayPrefix = '/model'
/** A run may end a while after its own timer: then Modal's ends it. */
const graceMs = 60_000
/** How long closing waits until the last ends of runs are tagged. */
const tagsMs = 2000

/** The model gateway, or what stands in for it: the key itself in the sandboxes, where the operator has it so. */
export default fp<GatewayOptions>(async (fastify, { config }) => {
  const { client, backend, provider, modelEnv, replacement, urlInSandbox } = fastify.modal
  const { access, secretName } = config.claude
  const local = backend === 'local'
  if (access === 'replacement') {
    fastify.decorate('model', { env: {}, secrets: [], perRun: replaced(config, replacement!.domain) })
    return
  }
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
  const objects = await counterObjects()
  const store = objects && new StoredCounters(objects)
  const ledger = new SpendingLedger({ store, replica: randomId('replica'), log: fastify.log })
  const gateway = new Gateway({
    provider, prices, ledger, runState: stateOfRun, tokens: new RunTokens(await secrets(provider)), log: fastify.log
  })
  /** Ends of runs on their way to Modal. */
  const tagging = new Set<Promise<unknown>>()
  fastify.decorate('gateway', gateway)
  fastify.addHook('onClose', async () => {
    gateway.abort()
    await withDeadline(tagsMs, () => Promise.all(tagging)).catch(() => {})
    await ledger.close()
  })

  fastify.decorate('model', {
    env: {},
    secrets: gateway.secrets,
    perRun: {
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
      close: (owned, runId) => {
        const charges = gateway.close(runId)
        if (charges !== undefined) tagEnded(owned, runId)
        return charges
      },
      closeOther (owned, runId) {
        if (gateway.closeOther(runId)) tagEnded(owned, runId)
      }
    }
  })

  /** Tells all replicas, also later ones, which must not let the run in any more. */
  function tagEnded ({ id, sandbox }: OwnedSandbox, runId: string): void {
    const tagged = tagEndedRun(sandbox, runId).catch((err: unknown) => {
      fastify.log.warn({ sandboxId: id, runId, err }, 'sandbox not tagged with the end of its run')
    }).finally(() => tagging.delete(tagged))
    tagging.add(tagged)
  }

  /** By Modal's word only. */
  async function stateOfRun ({ accountId, sandboxId, runId }: RunGrant): Promise<RunState> {
    const sandbox = await client.sandboxes.fromId(sandboxId)
    const [tags, exitCode] = await Promise.all([sandbox.getTags(), sandbox.poll()])
    if (exitCode !== null || decodeTags(tags)?.owner !== appName(accountId)) return 'ended'
    return runState(tags, runId)
  }

  /** Where sandboxes find this service. Local ones are on this machine: whatever port it has got. */
  function baseUrl (): string {
    if (!local) return config.publicUrl! + gatewayPrefix
    const address = fastify.server.address() as AddressInfo | null
    if (address === null) throw new AppError('CLAUDE_FAILED', { message: 'The service does not listen yet.' })
    const host = { '0.0.0.0': '127.0.0.1', '::': '127.0.0.1' }[address.address] ?? address.address
    return urlInSandbox(`http://${host.includes(':') ? `[${host}]` : host}:${address.port}${gatewayPrefix}`)
  }

  /** Where replicas keep what they have spent. */
  async function counterObjects (): Promise<Objects | undefined> {
    const { usageUrl } = config.gateway
    if (usageUrl === undefined) return local ? new DirectoryObjects(join(config.local.dataDir, 'usage')) : undefined
    const [, bucket, path] = /^s3:\/\/([^/]+)\/?(.*)$/.exec(usageUrl)!
    const { openStore } = await import('../services/sync/s3/open-store.js')
    const record = { bucket: bucket!, prefix: path!.replace(/\/*$/, path === '' ? '' : '/') } as StorageRecord
    const ended = new AbortController()
    const secrets = { read: async () => { throw new Error('unreachable') }, forget () {} }
    const store = await openStore(record, { s3: config.s3, secrets }, ended.signal)
    fastify.addHook('onClose', async () => { store.close() })
    return {
      async list (start) {
        const found = []
        for await (const page of store.list(start)) found.push(...page.map(({ key, etag }) => ({ key, version: etag })))
        return found
      },
      get: async (key) => (await store.get(key)).body,
      put: async (key, body) => { await store.put(key, body) }
    }
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

/** Modal puts the key into the requests to the model's domain; in the sandbox there is none. */
function replaced ({ claude: { baseUrl } }: Config, domain: string): ModelAccess['perRun'] {
  const provider = { kind: 'anthropic' as const, baseUrl: baseUrl ?? `https://${domain}`, apiKey: '' }
  const variables = gatewayVariables(provider, provider.baseUrl)
  return {
    async open ({ owned }) {
      if (owned.modelDomain === domain) {
        return { env: { ...variables, ...tokenVariables(provider, 'replaced-by-modal') }, settings: variables }
      }
      throw new AppError('CLAUDE_FAILED', {
        message: 'This sandbox was created before the service let Modal put the model key into its requests.',
        hint: 'Create a new sandbox; on the same volume it has the same files and conversations.'
      })
    },
    close: () => undefined
  }
}
