import { createHash } from 'node:crypto'
import { objectId } from './ids.js'
import type { SecretSource, StringMap } from '../proto/messages.js'
import type { State } from './state.js'
import { failedPrecondition, invalid, notFound } from './status.js'

type Values = Record<string, string>

/** Secrets and their values: named ones come from the configuration only, ephemeral ones live as long as the server. */
export class Secrets {
  readonly #state: State
  readonly #named: Record<string, Values>
  readonly #ephemeral = new Map<string, Values>()

  constructor (state: State, named: Record<string, Values>) {
    this.#state = state
    this.#named = named
  }

  /** @throws {StatusError} NOT_FOUND, or FAILED_PRECONDITION when a required key is missing */
  async idOf (name: string, requiredKeys: string[]): Promise<{ id: string, keys: string[] }> {
    if (!Object.hasOwn(this.#named, name)) throw notFound(`Secret '${name}' not found`)
    const values = this.#named[name]!
    const missing = requiredKeys.filter((key) => !Object.hasOwn(values, key))
    if (missing.length > 0) throw failedPrecondition(`Secret is missing key(s): ${missing.join(', ')}`)
    const { secretIds } = this.#state.records
    if (!Object.hasOwn(secretIds, name)) {
      secretIds[name] = objectId('st')
      await this.#state.save()
    }
    return { id: secretIds[name]!, keys: Object.keys(values) }
  }

  addEphemeral (values: Values): string {
    checkVariables(values)
    const id = objectId('st')
    this.#ephemeral.set(id, values)
    return id
  }

  delete (id: string): void {
    if (this.#ephemeral.delete(id)) return
    if (this.#nameOf(id) === undefined) throw notFound(`Secret with ID ${id} not found`)
    throw failedPrecondition('The local emulator takes named secrets from its configuration: remove it there')
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
    return ids.map((id) => this.#nameOf(id) ?? digest(this.#valuesOf(id)))
  }

  #source ({ secretId, env }: SecretSource): Values {
    return secretId !== undefined ? this.#valuesOf(secretId) : checkVariables(variables(env))
  }

  #valuesOf (id: string): Values {
    const name = this.#nameOf(id)
    const values = this.#ephemeral.get(id) ?? (name === undefined ? undefined : this.#named[name])
    if (!values) throw notFound(`Secret with ID ${id} not found`)
    return values
  }

  #nameOf (id: string): string | undefined {
    const entries = Object.entries(this.#state.records.secretIds)
    return entries.find(([name, known]) => known === id && Object.hasOwn(this.#named, name))?.[0]
  }
}

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
