import { existsSync, readFileSync } from 'node:fs'
import { resolve } from 'node:path'
import { Type, type Static } from '@sinclair/typebox'
import { isNetwork, readJson, readVariables, type ReportProblem } from './lib/settings.js'
import { StartProblem } from './lib/start-problem.js'
import { Account } from './schemas/account.js'
import { ComputePrices } from './schemas/compute-prices.js'
import { ModelPrice } from './schemas/model-price.js'

const second = 1000
const day = 24 * 60 * 60 * second
const milliseconds = (fallback: number) => Type.Integer({ minimum: 0, default: fallback })
const wholeSeconds = (fallback: number) =>
  Type.Integer({ minimum: second, maximum: day, multipleOf: second, default: fallback })
const httpUrl = Type.Optional(Type.String({ pattern: '^https?://[^\\s]+$' }))
const text = Type.Optional(Type.String({ minLength: 1 }))

/** Every variable that the service reads. No other file of it reads the environment. */
const Environment = Type.Object({
  HOST: Type.String({ default: '127.0.0.1' }),
  PORT: Type.Integer({ minimum: 0, maximum: 65535, default: 3000 }),
  LOG_LEVEL: Type.Union(
    ['fatal', 'error', 'warn', 'info', 'debug', 'trace', 'silent'].map((level) => Type.Literal(level)),
    { default: 'info' }),
  PUBLIC_URL: httpUrl,
  TRUST_PROXY: text,
  CORS_ORIGINS: text,
  MODAL_TOKEN_ID: text,
  MODAL_TOKEN_SECRET: text,
  MODAL_ENVIRONMENT: text,
  MODAL_SERVER_URL: httpUrl,
  ANTHROPIC_API_KEY: text,
  ANTHROPIC_BASE_URL: httpUrl,
  CLAUDE_SECRET_NAME: text,
  AWS_BEDROCK_API_KEY: text,
  AWS_BEDROCK_REGION: Type.String({ default: 'us-east-1' }),
  ANTHROPIC_BEDROCK_BASE_URL: httpUrl,
  CLAUDE_KEY_IN_SANDBOX: Type.Boolean({ default: false }),
  GATEWAY_SECRET: Type.Optional(Type.String({ minLength: 32 })),
  MODEL_PRICES: text,
  COMPUTE_PRICES: text,
  USAGE_S3_URL: Type.Optional(Type.String({ pattern: '^s3://[a-z0-9][a-z0-9.-]+(/.*)?$' })),
  ACCOUNTS: text,
  ACCOUNTS_FILE: text,
  JWT_SECRET: Type.Optional(Type.String({ minLength: 32 })),
  JWT_JWKS_URL: httpUrl,
  JWT_ISSUER: text,
  JWT_AUDIENCE: text,
  JWT_ACCOUNT_CLAIM: Type.String({ default: 'sub' }),
  SESSION_SECRET: Type.Optional(Type.String({ minLength: 32 })),
  CLAUDE_IMAGE: text,
  CLAUDE_VERSION: Type.String({ pattern: '^\\d+\\.\\d+\\.\\d+$', default: '2.1.330' }),
  CLAUDE_NPM_REGISTRY: Type.String({ pattern: '^https?://[^\\s@]+$', default: 'https://registry.npmjs.org' }),
  RUN_DISCONNECT_GRACE_MS: milliseconds(10 * second),
  RUN_TIMEOUT_MS: wholeSeconds(30 * 60 * second),
  PERMISSION_TIMEOUT_MS: Type.Integer({ minimum: second, maximum: day, default: 10 * 60 * second }),
  HEARTBEAT_MS: Type.Integer({ minimum: 100, default: 10 * second }),
  SANDBOX_TIMEOUT_MS: wholeSeconds(60 * 60 * second),
  SANDBOX_IDLE_TIMEOUT_MS: wholeSeconds(10 * 60 * second),
  DEPLOYMENT: Type.String({ pattern: '^[A-Za-z0-9][A-Za-z0-9.-]{0,39}$', default: 'modal-sandbox' }),
  REAPER_INTERVAL_MS: Type.Integer({ minimum: second, maximum: day, default: 60 * second }),
  S3_ENDPOINT_URL: httpUrl,
  S3_REGION: Type.String({ default: 'us-east-1' }),
  S3_ACCESS_KEY_ID: text,
  S3_SECRET_ACCESS_KEY: text,
  S3_FORCE_PATH_STYLE: Type.Optional(Type.Boolean()),
  DATA_DIR: Type.String({ default: '.data' }),
  EMULATOR_IMAGES: text,
  EMULATOR_SECRETS: text,
  EMULATOR_STRICT: text,
  EMULATOR_DELAY_MS: Type.Integer({ minimum: 0, maximum: 60 * second, default: 0 }),
  EMULATOR_NETWORK: Type.Optional(Type.Union([Type.Literal('own'), Type.Literal('host')])),
  EMULATOR_RUNTIME: Type.Optional(Type.Union([Type.Literal('namespaces'), Type.Literal('runsc')]))
})
type Environment = Static<typeof Environment>

const Accounts = Type.Array(Account, { minItems: 1 })
const ModelPrices = Type.Record(Type.String({ minLength: 1 }), ModelPrice)
/** Modal's list prices of sandboxes, by the second, without a region's surcharge: https://modal.com/pricing */
const listPrices: ComputePrices = { cpuCoreHour: 3600 * 0.00003942, memoryGiBHour: 3600 * 0.00000672 }
const Images = Type.Record(Type.String(), Type.String())
const Secrets = Type.Record(Type.String(), Type.Record(Type.String(), Type.String()))

/** Lists every invalid setting, by variable name and never with its value. */
export class ConfigError extends StartProblem {
  readonly problems: string[]

  constructor (problems: string[]) {
    super(`The configuration is not valid:\n${problems.map((problem) => `  - ${problem}`).join('\n')}`)
    this.name = 'ConfigError'
    this.problems = problems
  }
}

export type Config = ReturnType<typeof parseConfig>

/**
 * Reads `.env` (without overriding what is set) and the environment.
 * @throws {StartProblem} A {@link ConfigError} names every invalid variable.
 */
export function loadConfig (): Config {
  readEnvFile()
  return parseConfig(process.env)
}

const ModalEnvironment = Type.Pick(Environment, [
  'MODAL_TOKEN_ID', 'MODAL_TOKEN_SECRET', 'MODAL_ENVIRONMENT', 'MODAL_SERVER_URL', 'CLAUDE_IMAGE'
])

/** The same for what connects to Modal alone. @throws {StartProblem} as {@link loadConfig}; without a token. */
export function loadModalConfig (): { modal: Config['modal'], image: string | undefined } {
  readEnvFile()
  const problems: string[] = []
  const env = readVariables(ModalEnvironment, process.env, (name, text) => { problems.push(`${name} ${text}`) })
  for (const name of ['MODAL_TOKEN_ID', 'MODAL_TOKEN_SECRET'] as const) {
    if (env[name] === undefined) problems.push(`${name} is missing`)
  }
  if (problems.length > 0) throw new ConfigError(problems)
  return { modal: modalOf(env), image: env.CLAUDE_IMAGE }
}

function readEnvFile () {
  try {
    if (existsSync('.env')) process.loadEnvFile('.env')
  } catch (cause) {
    throw new StartProblem('The file .env cannot be read. Correct it, or remove it.', { cause })
  }
}

function modalOf (env: Static<typeof ModalEnvironment>) {
  return {
    token: env.MODAL_TOKEN_ID && env.MODAL_TOKEN_SECRET
      ? { id: env.MODAL_TOKEN_ID, secret: env.MODAL_TOKEN_SECRET }
      : undefined,
    environment: env.MODAL_ENVIRONMENT,
    serverUrl: env.MODAL_SERVER_URL
  }
}

/**
 * Points the Modal SDK at a server while `construct` runs. The SDK (0.11.1) reads the server from the environment
 * only; its `endpoint` option is declared but not read.
 */
export function withModalServer<T> (url: string | undefined, construct: () => T): T {
  const before = process.env.MODAL_SERVER_URL
  if (url !== undefined) process.env.MODAL_SERVER_URL = url
  try {
    return construct()
  } finally {
    if (before === undefined) delete process.env.MODAL_SERVER_URL
    else process.env.MODAL_SERVER_URL = before
  }
}

/** The items between commas. */
function listOf (text = ''): string[] {
  return text.split(',').map((item) => item.trim()).filter((item) => item !== '')
}

/** Whether Modal itself is configured; otherwise the emulator is used (9.6). */
export function configured (config: Pick<Config, 'modal'>): boolean {
  return config.modal.token !== undefined
}

/**
 * Validates the whole environment and freezes the result. Empty values count as not set.
 * @throws {ConfigError} naming every invalid variable.
 */
export function parseConfig (variables: NodeJS.ProcessEnv) {
  const problems: string[] = []
  const problem: ReportProblem = (name, text) => { problems.push(`${name} ${text}`) }
  const env = readVariables(Environment, variables, problem)
  const accounts = readAccounts(env, problem)
  const images = readJson('EMULATOR_IMAGES', env.EMULATOR_IMAGES, Images, problem)
  const secrets = readJson('EMULATOR_SECRETS', env.EMULATOR_SECRETS, Secrets, problem)
  const prices = readJson('MODEL_PRICES', env.MODEL_PRICES, ModelPrices, problem)
  const computePrices = readJson('COMPUTE_PRICES', env.COMPUTE_PRICES, ComputePrices, problem)
  const access = modelAccess(env, accounts, problem)
  if (access !== 'gateway' && accounts?.some(({ limits }) => limits.monthlyBudgetUsd !== undefined)) {
    problem('ACCOUNTS', 'names a monthlyBudgetUsd, which only the model gateway can hold: set a model key ' +
      '(ANTHROPIC_API_KEY or AWS_BEDROCK_API_KEY) and, with Modal, PUBLIC_URL')
  }
  checkTogether(env, accounts, problem)
  if (problems.length > 0) throw new ConfigError(problems)

  return deepFreeze({
    host: env.HOST,
    port: env.PORT,
    logLevel: env.LOG_LEVEL,
    publicUrl: env.PUBLIC_URL?.replace(/\/+$/, ''),
    trustProxy: env.TRUST_PROXY,
    corsOrigins: listOf(env.CORS_ORIGINS),
    modal: modalOf(env),
    claude: {
      apiKey: env.ANTHROPIC_API_KEY,
      baseUrl: env.ANTHROPIC_BASE_URL,
      secretName: env.CLAUDE_SECRET_NAME,
      bedrock: env.AWS_BEDROCK_API_KEY
        ? { apiKey: env.AWS_BEDROCK_API_KEY, region: env.AWS_BEDROCK_REGION, baseUrl: env.ANTHROPIC_BEDROCK_BASE_URL }
        : undefined,
      access,
      prices: prices ?? {},
      image: env.CLAUDE_IMAGE,
      version: env.CLAUDE_VERSION,
      registry: env.CLAUDE_NPM_REGISTRY.replace(/\/+$/, '')
    },
    gateway: { secret: env.GATEWAY_SECRET, usageUrl: env.USAGE_S3_URL },
    accounts,
    jwt: {
      secret: env.JWT_SECRET,
      jwksUrl: env.JWT_JWKS_URL,
      issuer: env.JWT_ISSUER,
      audience: env.JWT_AUDIENCE,
      accountClaim: env.JWT_ACCOUNT_CLAIM
    },
    sessionSecret: env.SESSION_SECRET,
    run: {
      disconnectGraceMs: env.RUN_DISCONNECT_GRACE_MS,
      timeoutMs: env.RUN_TIMEOUT_MS,
      permissionMs: env.PERMISSION_TIMEOUT_MS,
      heartbeatMs: env.HEARTBEAT_MS
    },
    deployment: env.DEPLOYMENT,
    reaper: { intervalMs: env.REAPER_INTERVAL_MS },
    sandbox: { timeoutMs: env.SANDBOX_TIMEOUT_MS, idleTimeoutMs: env.SANDBOX_IDLE_TIMEOUT_MS },
    // On this machine a sandbox costs nothing by itself.
    computePrices: computePrices ?? (env.MODAL_TOKEN_ID === undefined ? undefined : listPrices),
    s3: {
      endpointUrl: env.S3_ENDPOINT_URL,
      region: env.S3_REGION,
      forcePathStyle: env.S3_FORCE_PATH_STYLE,
      credentials: env.S3_ACCESS_KEY_ID && env.S3_SECRET_ACCESS_KEY
        ? { accessKeyId: env.S3_ACCESS_KEY_ID, secretAccessKey: env.S3_SECRET_ACCESS_KEY }
        : undefined
    },
    local: {
      dataDir: resolve(env.DATA_DIR),
      images: images ?? {},
      secrets: secrets ?? {},
      strict: env.EMULATOR_STRICT,
      delayMs: env.EMULATOR_DELAY_MS,
      isolation: env.EMULATOR_RUNTIME,
      network: env.EMULATOR_NETWORK
    }
  })
}

function readAccounts (env: Environment, problem: ReportProblem) {
  if (env.ACCOUNTS !== undefined && env.ACCOUNTS_FILE !== undefined) {
    problem('ACCOUNTS_FILE', 'cannot be combined with ACCOUNTS: remove one of them')
  }
  const accounts = env.ACCOUNTS !== undefined
    ? readJson('ACCOUNTS', env.ACCOUNTS, Accounts, problem)
    : readJson('ACCOUNTS_FILE', readTextFile(env.ACCOUNTS_FILE, problem), Accounts, problem)
  const ids = accounts?.map(({ id }) => id) ?? []
  if (new Set(ids).size !== ids.length) problem('ACCOUNTS', 'contains the same id twice')
  return accounts
}

function readTextFile (path: string | undefined, problem: ReportProblem) {
  if (path === undefined) return
  try {
    return readFileSync(path, 'utf8')
  } catch {
    problem('ACCOUNTS_FILE', 'names a file that cannot be read')
  }
}

function checkTogether (env: Environment, accounts: Account[] | undefined, problem: ReportProblem) {
  if (env.MODAL_TOKEN_ID && !env.MODAL_TOKEN_SECRET) {
    problem('MODAL_TOKEN_SECRET', 'is required when MODAL_TOKEN_ID is set')
  }
  if (env.MODAL_TOKEN_SECRET && !env.MODAL_TOKEN_ID) {
    problem('MODAL_TOKEN_ID', 'is required when MODAL_TOKEN_SECRET is set')
  }
  const tokens = env.JWT_SECRET !== undefined || env.JWT_JWKS_URL !== undefined
  if (env.MODAL_TOKEN_ID && accounts === undefined && !tokens) {
    problem('ACCOUNTS', 'is missing: with Modal credentials the service needs accounts (ACCOUNTS, ACCOUNTS_FILE, ' +
      'JWT_SECRET or JWT_JWKS_URL); otherwise anyone could run up costs in your Modal workspace')
  }
  if (!listOf(env.CORS_ORIGINS).every((origin) => URL.canParse(origin) && new URL(origin).origin === origin)) {
    problem('CORS_ORIGINS', 'must be a list of origins, such as https://app.example.com, without paths')
  }
  if (!(env.TRUST_PROXY ?? 'loopback').split(',').every(isNetwork)) {
    problem('TRUST_PROXY', 'must be a list of addresses or networks, such as loopback, 10.0.0.0/8')
  }
  if (env.JWT_SECRET && env.JWT_JWKS_URL) {
    problem('JWT_JWKS_URL', 'cannot be combined with JWT_SECRET: remove one of them')
  }
  if (env.S3_ACCESS_KEY_ID && !env.S3_SECRET_ACCESS_KEY) {
    problem('S3_SECRET_ACCESS_KEY', 'is required when S3_ACCESS_KEY_ID is set')
  }
  if (env.S3_SECRET_ACCESS_KEY && !env.S3_ACCESS_KEY_ID) {
    problem('S3_ACCESS_KEY_ID', 'is required when S3_SECRET_ACCESS_KEY is set')
  }
  if (env.MODAL_TOKEN_ID && env.USAGE_S3_URL === undefined &&
      accounts?.some(({ limits }) => limits.monthlyBudgetUsd !== undefined)) {
    problem('USAGE_S3_URL', 'is required for the monthlyBudgetUsd of an account: set it to s3://<bucket>/<prefix>, where ' +
      'replicas keep what they have spent')
  }
  if (env.USAGE_S3_URL !== undefined && env.S3_ACCESS_KEY_ID === undefined) {
    problem('S3_ACCESS_KEY_ID', 'is required when USAGE_S3_URL is set')
  }
  if (env.CLAUDE_SECRET_NAME && env.ANTHROPIC_API_KEY) {
    problem('CLAUDE_SECRET_NAME', 'cannot be combined with ANTHROPIC_API_KEY: remove one of them')
  }
}

/**
 * How runs reach the model: through this service, which has the key; through Modal, which puts it into their requests;
 * or with the key in their sandbox.
 */
function modelAccess (
  env: Environment, accounts: Account[] | undefined, problem: ReportProblem
): 'gateway' | 'replacement' | 'sandbox' {
  if (env.CLAUDE_KEY_IN_SANDBOX) return 'sandbox'
  if (env.CLAUDE_SECRET_NAME !== undefined && env.AWS_BEDROCK_API_KEY === undefined) return 'replacement'
  if (env.MODAL_TOKEN_ID === undefined || isReachable(env)) return 'gateway'
  if (env.ANTHROPIC_API_KEY === undefined && env.AWS_BEDROCK_API_KEY === undefined) return 'gateway'
  // One account of one's own: the key is no secret to it.
  if (accounts?.length === 1 && accounts[0]!.id !== '*') return 'sandbox'
  problem('PUBLIC_URL', 'is missing, so that sandboxes could only be given the model key itself, for every account to ' +
    'read. Set PUBLIC_URL to an address of this service that Modal can reach, or put the key into a Modal secret and ' +
    'set CLAUDE_SECRET_NAME instead, or trust all accounts with the key and set CLAUDE_KEY_IN_SANDBOX=true')
  return 'sandbox'
}

/** Whether sandboxes at Modal find this service. Those of an emulator are on its machine. */
function isReachable ({ PUBLIC_URL: url, MODAL_SERVER_URL: modal }: Environment): boolean {
  return url !== undefined && (!isLoopback(url) || (modal !== undefined && isLoopback(modal)))
}

function isLoopback (url: string): boolean {
  return URL.canParse(url) && /^(localhost|127\.[\d.]+|\[::1\])$/.test(new URL(url).hostname)
}

function deepFreeze<T> (value: T): T {
  if (typeof value === 'object' && value !== null) Object.values(value).forEach(deepFreeze)
  return Object.freeze(value)
}
