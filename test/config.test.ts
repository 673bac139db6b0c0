import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { ConfigError, configured, parseConfig, withModalServer } from '../config.js'

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
  t.strictSame(config.accounts?.[0]?.limits, {
    sandboxes: 10,
    runs: 5,
    streams: 50,
    requestsPerMinute: 600,
    cpu: 4,
    memoryMiB: 16_384,
    gpus: [],
    timeoutMs: 28_800_000,
    idleTimeoutMs: 3_600_000,
    volumes: 50
  })
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
    CORS_ORIGINS: 'https://x.example/-secret',
    CLAUDE_VERSION: 'secret'
  }))
  t.type(thrown, ConfigError)
  const { problems, message } = thrown as unknown as ConfigError
  for (const name of ['PORT', 'LOG_LEVEL', 'MODAL_TOKEN_SECRET', 'PUBLIC_URL', 'SANDBOX_TIMEOUT_MS', 'JWT_SECRET', 'ACCOUNTS',
    'TRUST_PROXY', 'CORS_ORIGINS', 'EMULATOR_IMAGES', 'CLAUDE_SECRET_NAME', 'CLAUDE_VERSION']) {
    t.ok(problems.some((problem) => problem.startsWith(name)), `${name} is reported`)
  }
  t.notMatch(message, /-secret\b|secret"/, 'no value is shown')
})

t.test('Settings that contradict each other are reported', async (t) => {
  const dir = mkdtempSync(join(tmpdir(), 'config-'))
  t.teardown(() => rmSync(dir, { recursive: true }))
  const file = join(dir, 'accounts.json')
  writeFileSync(file, JSON.stringify([{ id: 'a' }, { id: 'a' }]))
  const modal = { MODAL_TOKEN_ID: 'x', MODAL_TOKEN_SECRET: 'x' }
  const two = '[{"id":"a"},{"id":"b"}]'
  const cases: [NodeJS.ProcessEnv, RegExp][] = [
    [{ MODAL_TOKEN_SECRET: 'x' }, /MODAL_TOKEN_ID is required when MODAL_TOKEN_SECRET is set/],
    [{ MODAL_TOKEN_ID: 'x', MODAL_TOKEN_SECRET: 'x' }, /ACCOUNTS is missing/],
    [{ ACCOUNTS_FILE: file }, /same id twice/],
    [{ ACCOUNTS_FILE: join(dir, 'none') }, /ACCOUNTS_FILE names a file that cannot be read/],
    [{ ACCOUNTS: '[{"id":"a"}]', ACCOUNTS_FILE: file }, /ACCOUNTS_FILE cannot be combined with ACCOUNTS/],
    [{ ACCOUNTS: '[{"id":"a","apiKeys":["plain"]}]' }, /ACCOUNTS\/0\/apiKeys\/0 must look like/],
    [{ ACCOUNTS: '[{"id":"a","colour":1}]' }, /ACCOUNTS\/0\/colour/],
    [{ ...modal, ANTHROPIC_API_KEY: 'x', ACCOUNTS: two }, /PUBLIC_URL is missing.*Set PUBLIC_URL.*CLAUDE_SECRET_NAME.*CLAUDE_KEY_IN_SANDBOX=true/],
    [{ ...modal, ANTHROPIC_API_KEY: 'x', ACCOUNTS: two, PUBLIC_URL: 'http://localhost:3000' }, /PUBLIC_URL is missing/],
    [{ ...modal, ANTHROPIC_API_KEY: 'x', ACCOUNTS: '[{"id":"*"}]' }, /PUBLIC_URL is missing/],
    [{ ...modal, AWS_BEDROCK_API_KEY: 'x', JWT_SECRET: 'x'.repeat(32) }, /PUBLIC_URL is missing/],
    [{ ...modal, ACCOUNTS: '[{"id":"a","limits":{"monthlyBudgetUsd":5}}]' }, /USAGE_S3_URL is required for the monthlyBudgetUsd/],
    [{ CLAUDE_KEY_IN_SANDBOX: 'true', ACCOUNTS: '[{"id":"a","limits":{"monthlyBudgetUsd":5}}]' }, /ACCOUNTS names a monthlyBudgetUsd, which only/],
    [{ USAGE_S3_URL: 's3://bucket/usage' }, /S3_ACCESS_KEY_ID is required when USAGE_S3_URL is set/],
    [{ MODEL_PRICES: '{"claude-x":{"input":-1,"output":1}}' }, /MODEL_PRICES\/claude-x\/input/],
    [{ COMPUTE_PRICES: '{"cpuCoreHour":-1,"memoryGiBHour":1}' }, /COMPUTE_PRICES\/cpuCoreHour/],
    [{ COMPUTE_PRICES: '{"cpuCoreHour":1}' }, /COMPUTE_PRICES\/memoryGiBHour/],
    [{ JWT_SECRET: 'x'.repeat(32), JWT_JWKS_URL: 'https://id.example/keys' }, /JWT_JWKS_URL cannot be combined with JWT_SECRET/]
  ]
  for (const [env, message] of cases) t.throws(() => parseConfig(env), { message })
})

t.test('A sandbox has a price on Modal, or where the operator names one', async (t) => {
  const modal = { MODAL_TOKEN_ID: 'x', MODAL_TOKEN_SECRET: 'x', ACCOUNTS: '[{"id":"a"}]' }
  const own = { cpuCoreHour: 0.5, memoryGiBHour: 0 }
  t.equal(parseConfig({}).computePrices, undefined)
  const { cpuCoreHour, memoryGiBHour } = parseConfig(modal).computePrices!
  t.strictSame([cpuCoreHour.toFixed(3), memoryGiBHour.toFixed(3)], ['0.142', '0.024'])
  const COMPUTE_PRICES = JSON.stringify(own)
  for (const env of [{}, modal]) t.strictSame(parseConfig({ ...env, COMPUTE_PRICES }).computePrices, own)
})

t.test('How runs reach the model follows from what is configured', async (t) => {
  const key = { MODAL_TOKEN_ID: 'x', MODAL_TOKEN_SECRET: 'x', ANTHROPIC_API_KEY: 'x', ACCOUNTS: '[{"id":"a"}]' }
  const { ANTHROPIC_API_KEY: _key, ...secret } = { ...key, CLAUDE_SECRET_NAME: 'claude', PUBLIC_URL: 'https://us.example' }
  const cases: [NodeJS.ProcessEnv, string][] = [
    [{}, 'gateway'],
    [{ ANTHROPIC_API_KEY: 'x' }, 'gateway'],
    [{ ...key, PUBLIC_URL: 'https://us.example' }, 'gateway'],
    [{ ...key, PUBLIC_URL: 'http://localhost:3000', MODAL_SERVER_URL: 'http://127.0.0.1:9000' }, 'gateway'],
    [key, 'sandbox'],
    [{ ...key, PUBLIC_URL: 'https://us.example', CLAUDE_KEY_IN_SANDBOX: 'true' }, 'sandbox'],
    [secret, 'replacement'],
    [{ ...secret, CLAUDE_KEY_IN_SANDBOX: 'true' }, 'sandbox']
  ]
  for (const [env, access] of cases) t.equal(parseConfig(env).claude.access, access, JSON.stringify(env))
})

t.test('The SDK is pointed at a server only while it is constructed', async (t) => {
  const before = process.env.MODAL_SERVER_URL
  t.equal(withModalServer('http://127.0.0.1:1', () => process.env.MODAL_SERVER_URL), 'http://127.0.0.1:1')
  t.equal(process.env.MODAL_SERVER_URL, before)
})
