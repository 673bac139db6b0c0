import type { ModalClient, Sandbox } from 'modal'
import { AppError } from '../../errors.js'
import type { Account } from '../../schemas/account.js'
import { callModal, lookupMs } from '../modal/call.js'
import type { Tags } from '../modal/wire-tags.js'
import { appName } from '../modal/names.js'
import { decodeTags, type SandboxRecord } from './tags.js'

/** A sandbox that was proven to belong to the account that asked. */
export interface OwnedSandbox extends SandboxRecord {
  id: string
  /** The SDK's handle. It may be shared with other requests: never detach it. */
  sandbox: Sandbox
}

/** A handle keeps a sandbox's command connection and its record, which never changes: worth a few kilobytes. */
const cachedHandles = 500

/** Finds sandboxes by id and proves from their Modal tags whose they are. */
export class OwnedSandboxes {
  readonly #client: ModalClient
  /** By owner and id. An evicted handle is not closed: it may be in use, and the SDK drops idle connections. */
  readonly #cached = new Map<string, OwnedSandbox>()

  constructor (client: ModalClient) {
    this.#client = client
  }

  /**
   * The account's sandbox, running or not.
   * @throws {AppError} SANDBOX_NOT_FOUND, the same for an id that is missing, malformed or another account's.
   */
  async find (account: Account, id: string): Promise<OwnedSandbox> {
    const owner = appName(account.id)
    const cached = this.#cached.get(`${owner}/${id}`)
    if (cached !== undefined) return this.cache(cached)
    if (!/^sb-[A-Za-z0-9-]{1,100}$/.test(id)) throw new AppError('SANDBOX_NOT_FOUND')
    const found = await this.#read(await this.#client.sandboxes.fromId(id))
    if (found === undefined || found.owner !== owner) throw new AppError('SANDBOX_NOT_FOUND')
    return this.cache(found)
  }

  /** Reads the record behind a handle; undefined when this service did not create the sandbox. */
  async #read (sandbox: Sandbox, known?: Tags): Promise<OwnedSandbox | undefined> {
    const meanings = { notFound: 'SANDBOX_NOT_FOUND', invalid: 'SANDBOX_NOT_FOUND' } as const
    const tags = known ?? await callModal('find', lookupMs, () => sandbox.getTags(), meanings).catch((error: AppError) => {
      // A bare error: neither a step nor Modal's text may tell a missing sandbox from another account's.
      throw error.code === 'SANDBOX_NOT_FOUND' ? new AppError('SANDBOX_NOT_FOUND', { cause: error }) : error
    })
    const record = decodeTags(tags)
    return record && { ...record, id: sandbox.sandboxId, sandbox }
  }

  /**
   * The record behind a handle that came from a list or a name; undefined when it is not the account's.
   * @param tags as Modal's list has them.
   */
  async verify (account: Account, sandbox: Sandbox, tags?: Tags): Promise<OwnedSandbox | undefined> {
    const cached = this.#cached.get(`${appName(account.id)}/${sandbox.sandboxId}`)
    if (cached !== undefined) return this.cache(cached)
    const found = await this.#read(sandbox, tags)
    return found?.owner === appName(account.id) ? this.cache(found) : undefined
  }

  /** Remembers a handle, unless the sandbox is not ready: its record will still change, perhaps by another replica. */
  cache (owned: OwnedSandbox): OwnedSandbox {
    if (owned.preparing !== undefined) return owned
    const key = `${owned.owner}/${owned.id}`
    this.#cached.delete(key)
    this.#cached.set(key, owned)
    if (this.#cached.size > cachedHandles) this.#cached.delete(this.#cached.keys().next().value!)
    return owned
  }
}
