import { isAbsolute } from 'node:path'
import type { Isolation } from './container/types.js'
import { parseStrictness } from './strict.js'

/** What `npm run emulator` reads from the environment. */
interface Settings {
  port: number
  dataDir: string
  /** Image tag to a root directory, an OCI layout or an archive. */
  images: Record<string, string>
  /** Named secrets. */
  secrets: Record<string, Record<string, string>>
  logLevel: string
  isolation: Isolation | undefined
  network: 'own' | 'host' | undefined
  strict: string | undefined
  /** Milliseconds. */
  delayMs: number
}

const levels = ['fatal', 'error', 'warn', 'info', 'debug', 'trace', 'silent']

/** Reads the settings, and lists every mistake by the name of the variable, never its value. */
export function readSettings (environment: NodeJS.ProcessEnv): { settings: Settings, mistakes: string[] } {
  const mistakes: string[] = []
  const port = Number(environment['EMULATOR_PORT'] || 0)
  if (!Number.isInteger(port) || port < 0 || port > 65_535) mistakes.push('EMULATOR_PORT must be a port number')
  const logLevel = environment['LOG_LEVEL'] || 'warn'
  if (!levels.includes(logLevel)) mistakes.push(`LOG_LEVEL must be one of ${levels.join(', ')}`)
  const runtime = environment['EMULATOR_RUNTIME'] || undefined
  if (runtime !== undefined && !isIsolation(runtime)) mistakes.push('EMULATOR_RUNTIME must be namespaces or runsc')
  const network = environment['EMULATOR_NETWORK'] || undefined
  if (network !== undefined && !isNetwork(network)) mistakes.push('EMULATOR_NETWORK must be own or host')
  const strict = environment['EMULATOR_STRICT']
  try {
    parseStrictness(strict)
  } catch (error) {
    mistakes.push((error as Error).message)
  }
  const delayMs = Number(environment['EMULATOR_DELAY_MS'] || 0)
  if (!Number.isInteger(delayMs) || delayMs < 0 || delayMs > 60_000) {
    mistakes.push('EMULATOR_DELAY_MS must be a number of milliseconds, 60000 at most')
  }
  const settings = {
    port,
    delayMs,
    logLevel,
    strict,
    isolation: isIsolation(runtime) ? runtime : undefined,
    network: isNetwork(network) ? network : undefined,
    dataDir: environment['DATA_DIR'] || '.data',
    images: jsonObject('EMULATOR_IMAGES', isAbsolutePath, 'an object that maps image tags to absolute paths'),
    secrets: jsonObject('EMULATOR_SECRETS', isValues, 'an object that maps secret names to objects of strings')
  }
  return { settings, mistakes }

  function jsonObject<T> (name: string, isValid: (value: unknown) => value is T, shape: string): Record<string, T> {
    const object = parseObject(environment[name] || '{}')
    if (object && Object.values(object).every(isValid)) return object as Record<string, T>
    mistakes.push(`${name} must be JSON: ${shape}`)
    return {}
  }
}

function parseObject (text: string): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(text)
    return isObject(value) ? value : undefined
  } catch {
    return undefined
  }
}

function isObject (value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function isIsolation (value: unknown): value is Isolation {
  return value === 'namespaces' || value === 'runsc'
}

function isNetwork (value: unknown): value is 'own' | 'host' {
  return value === 'own' || value === 'host'
}

function isAbsolutePath (value: unknown): value is string {
  return typeof value === 'string' && isAbsolute(value)
}

function isValues (value: unknown): value is Record<string, string> {
  return isObject(value) && Object.values(value).every((entry) => typeof entry === 'string')
}
