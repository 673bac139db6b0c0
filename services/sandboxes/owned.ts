import type { ModalClient, Sandbox } from 'modal'
import { AppError } from '../../errors.js'
import type { Account } from '../../schemas/account.js'
import { callModal, lookupMs } from '../modal/call.js'
import { appName } from '../modal/names.js'
import { decodeTags, type SandboxRecord } from './tags.js'

/** A sandbox that is proven to belong to the account that asked. */
export interface OwnedSandbox extends SandboxRecord {
  id: string
  /** The SDK's handle. It may be shared with other requests: never detach it. */
  sandbox: Sandbox
}

/** Handles keep a sandbox' command connection and its record, which never changes: worth a few kilobytes each. */
const keptHandles = 500

/** Finds sandboxes by id and proves from their Modal tags whose they are. */
export class OwnedSandboxes {
  readonly #client: ModalClient
  /** By owner and id. A handle that falls out is not closed: whoever uses it goes on, and the SDK drops idle ones. */
  readonly #kept = new Map<string, OwnedSandbox>()

  constructor (client: ModalClient) {
    this.#client = client
  }

  /**
   * The account's sandbox, running or not.
   * @throws {AppError} SANDBOX_NOT_FOUND for one that is missing, malformed or somebody else's: the same to a client.
   */
  async find (account: Account, id: string): Promise<OwnedSandbox> {
    const owner = appName(account.id)
    const known = this.#kept.get(`${owner}/${id}`)
    if (known !== undefined) return this.cache(known)
    if (!/^sb-[A-Za-z0-9-]{1,100}$/.test(id)) throw new AppError('SANDBOX_NOT_FOUND')
    const found = await this.#read(await this.#client.sandboxes.fromId(id))
    if (found === undefined || found.owner !== owner) throw new AppError('SANDBOX_NOT_FOUND')
    return this.cache(found)
  }

  /** Reads the record of a handle that Modal gave us; undefined when this service did not make the sandbox. */
  async #read (sandbox: Sandbox): Promise<OwnedSandbox | undefined> {
    const meanings = { notFound: 'SANDBOX_NOT_FOUND', invalid: 'SANDBOX_NOT_FOUND' } as const
    const tags = await callModal('find', lookupMs, () => sandbox.getTags(), meanings).catch((error: AppError) => {
      // A bare error: no step and no text of Modal's may tell a missing sandbox from somebody else's.
      throw error.code === 'SANDBOX_NOT_FOUND' ? new AppError('SANDBOX_NOT_FOUND', { cause: error }) : error
    })
    const record = decodeTags(tags)
    return record && { ...record, id: sandbox.sandboxId, sandbox }
  }

  /** The record behind a handle of the account's own app. */
  async verify (account: Account, sandbox: Sandbox): Promise<OwnedSandbox | undefined> {
    const known = this.#kept.get(`${appName(account.id)}/${sandbox.sandboxId}`)
    if (known !== undefined) return this.cache(known)
    const found = await this.#read(sandbox)
    return found?.owner === appName(account.id) ? this.cache(found) : undefined
  }

  /** One that is not ready yet is not kept: its record still changes, and another replica may be the one to do it. */
  cache (owned: OwnedSandbox): OwnedSandbox {
    if (owned.preparing !== undefined) return owned
    const key = `${owned.owner}/${owned.id}`
    this.#kept.delete(key)
    this.#kept.set(key, owned)
    if (this.#kept.size > keptHandles) this.#kept.delete(this.#kept.keys().next().value!)
    return owned
  }
}
