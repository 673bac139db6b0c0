import type { ModalClient, Volume } from 'modal'
import type { Account } from '../../schemas/account.js'
import { unlessMissing } from '../modal/errors.js'
import { isVolumeOf, volumeName } from '../modal/names.js'
import { volumeNames } from '../modal/volumes.js'
import { beyondLimit } from './resources.js'

/** Finds the volumes of accounts, and creates those that they may still have. */
export class Volumes {
  readonly #client: ModalClient
  /** The last creation of each account: one at a time, so that each is counted before the next one. */
  readonly #creating = new Map<string, Promise<unknown>>()

  constructor (client: ModalClient) {
    this.#client = client
  }

  /**
   * The account's volume of this name, created when it is missing, and reused after that (5.6).
   * @throws {AppError} FORBIDDEN when it would be one too many.
   */
  async open (account: Account, name: string): Promise<Volume> {
    const existing = await unlessMissing(this.#client.volumes.fromName(volumeName(account.id, name)))
    return existing ?? await this.#inTurn(account.id, () => this.#create(account, name))
  }

  async #create (account: Account, name: string): Promise<Volume> {
    const limit = account.limits.volumes
    const modalName = volumeName(account.id, name)
    let count = 1
    for await (const other of volumeNames(this.#client)) {
      if (other !== modalName && isVolumeOf(account.id, other)) count++
      if (count > limit) break
    }
    if (count > limit) throw beyondLimit('volumes', count, limit)
    // No version is requested: a new volume gets Modal's default (version 2 is a beta that "cannot guarantee no data
    // loss"), and a request for one would refuse an existing volume of the other version.
    return await this.#client.volumes.fromName(modalName, { createIfMissing: true })
  }

  async #inTurn<T> (accountId: string, work: () => Promise<T>): Promise<T> {
    const turn = (this.#creating.get(accountId) ?? Promise.resolve()).then(work)
    const settled = turn.catch(() => {}).then(() => {
      if (this.#creating.get(accountId) === settled) this.#creating.delete(accountId)
    })
    this.#creating.set(accountId, settled)
    return await turn
  }
}
