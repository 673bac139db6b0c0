import { mkdtemp } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { buildApp } from '../../app.js'
import { parseConfig } from '../../config.js'
import { removeTree } from '../../emulator/container/host.js'
import { digest, randomId } from '../../lib/ids.js'
import { isolation } from './isolation.js'
import { startLiveModel } from './live-model.js'
import { makeSecrets } from './live-secrets.js'
import { strict } from './strict.js'

export { readSse, type ReceivedEvent } from './sse.js'

/**
 * `npm run test:live` runs the integration tests against Modal itself (8.1). They skip, with this message, when the
 * credentials are missing (8.2). Everywhere else they run on the emulator.
 */
export const live = process.env.TEST_LIVE === '1'
export const skip = live && !(process.env.MODAL_TOKEN_ID && process.env.MODAL_TOKEN_SECRET)
  ? 'Modal credentials are not configured: set MODAL_TOKEN_ID and MODAL_TOKEN_SECRET'
  : false

/** API keys of two accounts that must never see each other. */
export const keys = { alice: randomId('key'), bob: randomId('key') }
export const accountIds = { alice: `t-${randomId('a').slice(2, 12)}`, bob: `t-${randomId('b').slice(2, 12)}` }

/** A whole service on a free port of this machine, with two accounts; everything it made is gone after `close`. */
export async function startService (env: Record<string, string> = {}) {
  const dataDir = await mkdtemp(join(tmpdir(), 'modal-sandbox-test-'))
  const model = live && process.env.ANTHROPIC_API_KEY === undefined ? await startLiveModel() : undefined
  // Those of the tests that run live.
  const removeSecrets = live && env['EMULATOR_SECRETS'] !== undefined
    ? await makeSecrets(JSON.parse(env['EMULATOR_SECRETS']))
    : undefined
  const accounts = Object.entries(keys).map(([name, key]) => ({
    id: accountIds[name as keyof typeof keys],
    apiKeys: [`sha256:${digest(key)}`],
    secrets: ['test-*'],
    limits: { sandboxes: 10, runs: 5, requestsPerMinute: 100_000 }
  }))
  const config = parseConfig({
    // Modal cannot reach this machine.
    ...(live && { CLAUDE_KEY_IN_SANDBOX: 'true' }),
    ...(live && pick('MODAL_TOKEN_ID', 'MODAL_TOKEN_SECRET', 'MODAL_ENVIRONMENT', 'MODAL_SERVER_URL', 'CLAUDE_IMAGE', 'ANTHROPIC_API_KEY')),
    ...(model !== undefined && { ANTHROPIC_BASE_URL: model.url, ANTHROPIC_API_KEY: model.apiKey }),
    DATA_DIR: dataDir,
    EMULATOR_RUNTIME: isolation,
    EMULATOR_STRICT: strict,
    PORT: '0',
    ACCOUNTS: JSON.stringify(accounts),
    EMULATOR_SECRETS: JSON.stringify({ 'test-one': { ONE: '1' }, other: { TWO: '2' } }),
    SANDBOX_TIMEOUT_MS: '300000',
    SANDBOX_IDLE_TIMEOUT_MS: '120000',
    ...env
  })
  const app = await buildApp(config)
  const url = await app.listen({ host: '127.0.0.1', port: 0 })
  const created = new Map<string, string>()

  /** A request as one of the accounts; sandboxes it creates are remembered and ended by `close` (8.7). */
  async function request (path: string, init: RequestInit & { as?: keyof typeof keys | null, json?: unknown } = {}) {
    const { as = 'alice', json, ...rest } = init
    const headers = new Headers(rest.headers)
    if (as !== null) headers.set('authorization', `Bearer ${keys[as]}`)
    if (json !== undefined) headers.set('content-type', 'application/json')
    const body = json === undefined ? rest.body : JSON.stringify(json)
    const response = await fetch(url + path, { ...rest, headers, ...(body != null && { body }) })
    if (path === '/api/modal/sandbox' && rest.method === 'POST' && response.ok && as !== null &&
        response.headers.get('content-type')?.startsWith('application/json')) {
      const { id } = await response.clone().json() as { id?: string }
      if (id !== undefined) created.set(id, as)
    }
    return response
  }

  async function close () {
    await Promise.all([...created].map(async ([id, as]) =>
      request(`/api/modal/sandbox/${id}`, { method: 'DELETE', as: as as keyof typeof keys })))
    await app.close()
    await model?.close()
    await removeSecrets?.()
    await removeTree(dataDir)
    const undeclared = [...app.undeclaredErrors]
    if (undeclared.length > 0) throw new Error(`Not among the errors of the route's schema: ${undeclared.join(', ')}`)
  }

  function remember (id: string, as: keyof typeof keys = 'alice') {
    created.set(id, as)
  }

  return { app, url, config, dataDir, request, close, remember }
}

export type Service = Awaited<ReturnType<typeof startService>>

function pick (...names: string[]) {
  return Object.fromEntries(names.map((name) => [name, process.env[name]]).filter(([, value]) => value !== undefined))
}
