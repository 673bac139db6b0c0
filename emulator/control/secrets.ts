import { createHash } from 'node:crypto'
import { checkName } from './environments.js'
import { objectId } from './ids.js'
import type { SecretSource, StringMap } from '../proto/messages.js'
import type { SecretRecord, State } from './state.js'
import { alreadyExists, failedPrecondition, invalid, notFound } from './status.js'

type Values = Record<string, string>

interface Named { name: string, environment: string, requiredKeys: string[] }

/** How a client makes a secret: what happens when there is one of that name. */
export type Creation = 'keep' | 'fail' | 'overwrite'

interface Listed { id: string, name: string, keys: string[], createdAt: number }

/**
 * Secrets and their values. Named ones come from the configuration, in every environment, or from clients, in one;
 * ephemeral ones live as long as the server.
 */
export class Secrets {
  readonly #state: State
  readonly #named: Record<string, Values>
  readonly #ephemeral = new Map<string, Values>()

  constructor (state: State, named: Record<string, Values>) {
    this.#state = state
    this.#named = named
  }

  /** @throws {StatusError} NOT_FOUND, or FAILED_PRECONDITION when a required key is missing */
  async idOf ({ name, environment, requiredKeys }: Named): Promise<{ id: string, keys: string[] }> {
    const made = this.#made(name, environment)
    if (!made && !Object.hasOwn(this.#named, name)) throw notFound(`Secret '${name}' not found`)
    const values = made?.values ?? this.#named[name]!
    const missing = requiredKeys.filter((key) => !Object.hasOwn(values, key))
    if (missing.length > 0) throw failedPrecondition(`Secret is missing key(s): ${missing.join(', ')}`)
    return { id: made?.id ?? await this.#configuredId(name), keys: Object.keys(values) }
  }

  /**
   * Makes a named secret. @throws {StatusError} ALREADY_EXISTS, or FAILED_PRECONDITION when it is in the configuration
   */
  async make (name: string, environment: string, values: Values, creation: Creation): Promise<string> {
    checkName(name, 'Secret')
    checkVariables(values)
    const made = this.#made(name, environment)
    const isConfigured = Object.hasOwn(this.#named, name)
    if (creation === 'keep' && (made || isConfigured)) return made?.id ?? await this.#configuredId(name)
    if (creation === 'fail' && (made || isConfigured)) throw alreadyExists(`Secret '${name}' already exists`)
    if (isConfigured) throw configured()
    const secret = made ?? { id: objectId('st'), name, environment, createdAt: Date.now() / 1000, values }
    secret.values = values
    if (!made) this.#state.records.secrets.push(secret)
    await this.#state.save()
    return secret.id
  }

  /** Newest first; those of the configuration are the oldest. */
  async list (environment: string): Promise<Listed[]> {
    const made = this.#state.records.secrets.filter((secret) => secret.environment === environment)
      .map(({ id, name, createdAt, values }) => ({ id, name, createdAt, keys: Object.keys(values) }))
    const names = Object.keys(this.#named).filter((name) => !made.some((secret) => secret.name === name))
    const given = await Promise.all(names.map(async (name) =>
      ({ id: await this.#configuredId(name), name, createdAt: 0, keys: Object.keys(this.#named[name]!) })))
    return [...made.toReversed(), ...given]
  }

  addEphemeral (values: Values): string {
    checkVariables(values)
    const id = objectId('st')
    this.#ephemeral.set(id, values)
    return id
  }

  async delete (id: string): Promise<void> {
    if (this.#ephemeral.delete(id)) return
    const { records } = this.#state
    const others = records.secrets.filter((secret) => secret.id !== id)
    if (others.length === records.secrets.length) {
      throw this.#configuredName(id) === undefined ? notFound(`No Secret with ID '${id}' found`) : configured()
    }
    records.secrets = others
    await this.#state.save()
  }

  /** The merged values of secrets; later ones win. @throws {StatusError} NOT_FOUND */
  values (ids: string[]): Values {
    return Object.assign({}, ...ids.map((id) => this.#valuesOf(id)))
  }

  /** The merged values of secrets given by id or inline; later ones win. @throws {StatusError} NOT_FOUND */
  resolve (sources: SecretSource[]): Values {
    return Object.assign({}, ...sources.map((source) => this.#source(source)))
  }

  /** What an image is cached by: the name of each secret, or a digest of an ephemeral one's values. */
  cacheNames (ids: string[]): string[] {
    return ids.map((id) => this.#configuredName(id) ?? this.#madeName(id) ?? digest(this.#valuesOf(id)))
  }

  #source ({ secretId, env }: SecretSource): Values {
    return secretId !== undefined ? this.#valuesOf(secretId) : checkVariables(variables(env))
  }

  #valuesOf (id: string): Values {
    const name = this.#configuredName(id)
    const made = this.#state.records.secrets.find((secret) => secret.id === id)
    const values = this.#ephemeral.get(id) ?? made?.values ?? (name === undefined ? undefined : this.#named[name])
    if (!values) throw notFound(`Secret with ID ${id} not found`)
    return values
  }

  #made (name: string, environment: string): SecretRecord | undefined {
    return this.#state.records.secrets.find((secret) => secret.name === name && secret.environment === environment)
  }

  #madeName (id: string): string | undefined {
    return this.#state.records.secrets.find((secret) => secret.id === id)?.name
  }

  async #configuredId (name: string): Promise<string> {
    const { secretIds } = this.#state.records
    if (!Object.hasOwn(secretIds, name)) {
      secretIds[name] = objectId('st')
      await this.#state.save()
    }
    return secretIds[name]!
  }

  #configuredName (id: string): string | undefined {
    const entries = Object.entries(this.#state.records.secretIds)
    return entries.find(([name, known]) => known === id && Object.hasOwn(this.#named, name))?.[0]
  }
}

const configured = () =>
  failedPrecondition('This secret is in the configuration of the local emulator: change or remove it there')

function digest (values: Values): string {
  return `sha256:${createHash('sha256').update(JSON.stringify(Object.entries(values).sort())).digest('hex')}`
}

export function variables (map: StringMap | null | undefined): Values {
  return map?.contents ?? {}
}

/** Refuses names that no shell accepts. Error texts never contain a value. */
export function checkVariables (values: Values): Values {
  for (const [name, value] of Object.entries(values)) {
    if (!/^[A-Za-z_]\w*$/.test(name)) throw invalid(`Invalid environment variable name: '${name}'`)
    if (value.includes('\0')) throw invalid(`The value of '${name}' contains a NUL byte`)
  }
  return values
}
