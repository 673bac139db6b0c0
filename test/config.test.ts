import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { generateKeyPair, exportJWK, SignJWT } from 'jose'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import t from 'tap'
import { ConfigError, configured, parseConfig, withModalServer } from '../config.js'
import { AppError, chain, wrap } from '../errors.js'
import { digest } from '../lib/ids.js'
import type { Account } from '../schemas/account.js'
import { developmentAccount } from '../services/accounts/development.js'
import { AccountRegistry } from '../services/accounts/registry.js'
import { mayUseSecret } from '../services/sandboxes/plan.js'
import { appName, volumeName } from '../services/modal/names.js'

const account = (id: string, extra: Partial<Account> = {}): Account => ({
  id, apiKeys: [`sha256:${digest(`key-of-${id}`)}`], secrets: [], limits: { sandboxes: 1, runs: 1, streams: 1, requestsPerMinute: 60 }, ...extra
})
const noTokens = { secret: undefined, jwksUrl: undefined, issuer: undefined, audience: undefined, accountClaim: 'sub' }

t.test('An empty environment means local mode with the documented defaults (9.6)', async (t) => {
  const config = parseConfig({ MODAL_TOKEN_ID: '', PORT: ' ' })
  t.equal(configured(config), false)
  t.match(config, {
    host: '127.0.0.1',
    port: 3000,
    logLevel: 'info',
    run: { disconnectGraceMs: 10000, timeoutMs: 1800000, heartbeatMs: 10000 },
    sandbox: { timeoutMs: 3600000, idleTimeoutMs: 600000 }
  })
  t.throws(() => { (config.run as { timeoutMs: number }).timeoutMs = 1 }, 'it is frozen')
})

t.test('Trusted proxies are addresses and networks', async (t) => {
  for (const right of ['loopback', '10.0.0.1', '10.0.0.0/8, ::1', 'fd00::/8']) t.equal(parseConfig({ TRUST_PROXY: right }).trustProxy, right)
  for (const wrong of ['true', '10.0.0', '10.0.0.0/33', '999.1.1.1', '10.0.0.0/', '::1,']) {
    t.throws(() => parseConfig({ TRUST_PROXY: wrong }), /TRUST_PROXY must be/, wrong)
  }
})

t.test('Modal credentials come from the environment, together with accounts (9.1)', async (t) => {
  const config = parseConfig({ MODAL_TOKEN_ID: 'ak-1', MODAL_TOKEN_SECRET: 'as-1', ACCOUNTS: JSON.stringify([{ id: 'acme' }]) })
  t.equal(configured(config), true)
  t.strictSame(config.modal.token, { id: 'ak-1', secret: 'as-1' })
  t.strictSame(config.accounts?.[0]?.limits, { sandboxes: 10, runs: 5, streams: 50, requestsPerMinute: 600 })
})

t.test('All invalid settings are reported together, by name and never with their values (9.2, 9.5)', async (t) => {
  const thrown = t.throws(() => parseConfig({
    PORT: 'eighty-secret',
    LOG_LEVEL: 'loud-secret',
    MODAL_TOKEN_ID: 'ak-secret',
    PUBLIC_URL: 'ftp://secret',
    SANDBOX_TIMEOUT_MS: '1500',
    JWT_SECRET: 'short-secret',
    ACCOUNTS: '{not json secret',
    EMULATOR_IMAGES: '["secret"]',
    ANTHROPIC_API_KEY: 'sk-secret',
    CLAUDE_SECRET_NAME: 'some-secret',
    TRUST_PROXY: 'everybody-secret',
    CLAUDE_VERSION: 'secret'
  }))
  t.type(thrown, ConfigError)
  const { problems, message } = thrown as unknown as ConfigError
  for (const name of ['PORT', 'LOG_LEVEL', 'MODAL_TOKEN_SECRET', 'PUBLIC_URL', 'SANDBOX_TIMEOUT_MS', 'JWT_SECRET', 'ACCOUNTS',
    'TRUST_PROXY', 'EMULATOR_IMAGES', 'CLAUDE_SECRET_NAME', 'CLAUDE_VERSION']) {
    t.ok(problems.some((problem) => problem.startsWith(name)), `${name} is reported`)
  }
  t.notMatch(message, /-secret\b|secret"/, 'no value is shown')
})

t.test('Settings that contradict each other are reported', async (t) => {
  const dir = mkdtempSync(join(tmpdir(), 'config-'))
  t.teardown(() => rmSync(dir, { recursive: true }))
  const file = join(dir, 'accounts.json')
  writeFileSync(file, JSON.stringify([{ id: 'a' }, { id: 'a' }]))
  const cases: [NodeJS.ProcessEnv, RegExp][] = [
    [{ MODAL_TOKEN_SECRET: 'x' }, /MODAL_TOKEN_ID is required when MODAL_TOKEN_SECRET is set/],
    [{ MODAL_TOKEN_ID: 'x', MODAL_TOKEN_SECRET: 'x' }, /ACCOUNTS is missing/],
    [{ ACCOUNTS_FILE: file }, /same id twice/],
    [{ ACCOUNTS_FILE: join(dir, 'none') }, /ACCOUNTS_FILE names a file that cannot be read/],
    [{ ACCOUNTS: '[{"id":"a"}]', ACCOUNTS_FILE: file }, /ACCOUNTS_FILE cannot be combined with ACCOUNTS/],
    [{ ACCOUNTS: '[{"id":"a","apiKeys":["plain"]}]' }, /ACCOUNTS\/0\/apiKeys\/0 must look like/],
    [{ ACCOUNTS: '[{"id":"a","colour":1}]' }, /ACCOUNTS\/0\/colour/],
    [{ JWT_SECRET: 'x'.repeat(32), JWT_JWKS_URL: 'https://id.example/keys' }, /JWT_JWKS_URL cannot be combined with JWT_SECRET/]
  ]
  for (const [env, message] of cases) t.throws(() => parseConfig(env), { message })
})

t.test('The SDK is pointed at a server only while it is constructed', async (t) => {
  const before = process.env.MODAL_SERVER_URL
  t.equal(withModalServer('http://127.0.0.1:1', () => process.env.MODAL_SERVER_URL), 'http://127.0.0.1:1')
  t.equal(process.env.MODAL_SERVER_URL, before)
})

t.test('An error keeps its chain of causes and names the step that failed (10.1, 8.10)', async (t) => {
  const error = wrap(wrap(new Error('connection refused'), 'app', 'MODAL_UNAVAILABLE'), 'create sandbox')
  t.match(error, { code: 'MODAL_UNAVAILABLE', statusCode: 503, step: 'create sandbox', message: 'Modal cannot be reached.' })
  t.equal(chain(error), 'create sandbox: Modal cannot be reached.: app: Modal cannot be reached.: connection refused')
  t.equal(chain('text'), 'text')
})

t.test('API keys are stored as digests only', async (t) => {
  const registry = new AccountRegistry([account('acme'), account('other')], noTokens)
  t.equal((await registry.authenticate('key-of-acme')).id, 'acme')
  await t.rejects(registry.authenticate('key-of-nobody'), { code: 'UNAUTHENTICATED' })
  await t.rejects(registry.authenticate(`sha256:${digest('key-of-acme')}`), { code: 'UNAUTHENTICATED' })
  await t.rejects(registry.authenticate('a.b.c'), { code: 'UNAUTHENTICATED' })
})

t.test('Tokens signed with the shared secret name their account', async (t) => {
  const secret = 'x'.repeat(32)
  const sign = async (claims: object, options: { alg?: string, key?: string, expires?: string } = {}) =>
    await new SignJWT({ ...claims }).setProtectedHeader({ alg: options.alg ?? 'HS256' })
      .setExpirationTime(options.expires ?? '5m').sign(new TextEncoder().encode(options.key ?? secret))
  const registry = new AccountRegistry([account('acme'), { ...account('*'), apiKeys: [] }],
    { ...noTokens, secret, issuer: 'idp', audience: 'us', accountClaim: 'org' })
  const claims = { org: 'acme', iss: 'idp', aud: 'us' }
  t.equal((await registry.authenticate(await sign(claims))).limits.sandboxes, 1)
  t.equal((await registry.authenticate(await sign({ ...claims, org: 'auth0|7' }))).id, 'auth0|7', 'the * entry is a template')
  const refused = [
    sign(claims, { key: 'y'.repeat(32) }), sign(claims, { alg: 'HS512' }), sign(claims, { expires: '-1m' }),
    sign({ ...claims, iss: 'else' }), sign({ ...claims, aud: 'else' }), sign({ ...claims, org: '*' }), sign({ iss: 'idp', aud: 'us' })
  ]
  for (const token of refused) await t.rejects(registry.authenticate(await token), { code: 'UNAUTHENTICATED' })
  const closed = new AccountRegistry([account('acme')], { ...noTokens, secret })
  await t.rejects(closed.authenticate(await sign({ sub: 'stranger' })), { code: 'FORBIDDEN' })
  const open = new AccountRegistry(undefined, { ...noTokens, secret })
  t.match(await open.authenticate(await sign({ sub: 'anyone' })), { id: 'anyone', limits: { sandboxes: 10 } })
})

t.test('Tokens of an identity provider are verified with its published keys', async (t) => {
  const { publicKey, privateKey } = await generateKeyPair('ES256')
  const jwks = { keys: [{ ...await exportJWK(publicKey), kid: 'k', alg: 'ES256' }] }
  const server = createServer((_request, response) => response.setHeader('content-type', 'application/json').end(JSON.stringify(jwks)))
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.teardown(() => server.close())
  const jwksUrl = `http://127.0.0.1:${(server.address() as AddressInfo).port}/keys`
  const registry = new AccountRegistry(undefined, { ...noTokens, jwksUrl })
  const token = await new SignJWT({ sub: 'acme' }).setProtectedHeader({ alg: 'ES256', kid: 'k' })
    .setExpirationTime('5m').sign(privateKey)
  t.equal((await registry.authenticate(token)).id, 'acme')
})

t.test('An account may name only the secrets that its patterns match', async (t) => {
  const acme = account('acme', { secrets: ['acme-*', 'shared.key'] })
  for (const name of ['acme-aws', 'acme-', 'shared.key']) t.ok(mayUseSecret(acme, name), name)
  for (const name of ['other', 'xacme-aws', 'sharedxkey', '']) t.notOk(mayUseSecret(acme, name), name)
})

t.test('No account id or volume name collides with one of another account (1.4)', async (t) => {
  const ids = ['a', 'a-b', 'A', 'ä', '../a', 'a.b', 'auth0|1', 'x'.repeat(200), `sha256.${digest('ä', 24)}`]
  const names = ids.flatMap((id) => [appName(id), volumeName(id, 'b'), volumeName(id, 'b-c')])
  t.equal(new Set(names).size, names.length)
  for (const name of names) t.match(name, /^[A-Za-z0-9._-]{1,64}$/)
  t.ok(volumeName('ä', 'v'.repeat(32)).length <= 64)
})

t.test('The development key is created once, readable by its owner only', async (t) => {
  const dir = mkdtempSync(join(tmpdir(), 'development-'))
  t.teardown(() => rmSync(dir, { recursive: true }))
  const first = await developmentAccount(dir)
  t.equal((await developmentAccount(dir)).apiKey, first.apiKey)
  t.match(readFileSync(join(dir, 'development-key'), 'utf8'), /^key_[0-9a-z]{20}$/)
  t.strictSame(first.account.apiKeys, [`sha256:${digest(first.apiKey)}`])
  await t.rejects(developmentAccount('/dev/null/x'), { code: /ENOTDIR|EEXIST/ })
})

t.test('An AppError keeps the details and the hint it was given', async (t) => {
  t.match(new AppError('RUN_ACTIVE', { details: { runId: 'run_1' }, hint: 'Look.' }), { statusCode: 409, hint: 'Look.', details: { runId: 'run_1' } })
})
