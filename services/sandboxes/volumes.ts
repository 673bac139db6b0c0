import type { ModalClient, Volume } from 'modal'
import { AppError } from '../../errors.js'
import type { Account } from '../../schemas/account.js'
import { callModal, lookupMs } from '../modal/call.js'
import { isInvalid, unlessMissing } from '../modal/errors.js'
import { isVolumeOf, volumeName } from '../modal/names.js'
import { listVolumes, type ListedVolume } from '../modal/volumes.js'
import { beyondLimit } from './resources.js'

/** Finds the volumes of accounts, and creates those that they may still have. */
export class Volumes {
  readonly #client: ModalClient
  readonly #held = new Set<{ modalName: string }>()
  /** The last creation of each account: one at a time, so that each is counted before the next one. */
  readonly #creating = new Map<string, Promise<unknown>>()

  constructor (client: ModalClient) {
    this.#client = client
  }

  /**
   * The account's volume of this name, created when it is missing, and reused after that (5.6).
   * @throws {AppError} FORBIDDEN when it would be one too many.
   */
  async open (account: Account, name: string, version?: 1 | 2): Promise<Volume> {
    const asked = version !== undefined && { version }
    try {
      const existing = await unlessMissing(this.#client.volumes.fromName(volumeName(account.id, name), { ...asked }))
      return existing ?? await this.#inTurn(account.id, () => this.#create(account, name, { ...asked }))
    } catch (cause) {
      if (version === undefined || !isInvalid(cause)) throw cause
      throw new AppError('VOLUME_VERSION', {
        message: `body.volume.version: the volume ${name} exists, and its version is not ${version}.`, cause
      })
    }
  }

  /** The account's volumes, newest first, whether in use or not. */
  async list (account: Account): Promise<ListedVolume[]> {
    const prefix = volumeName(account.id, '')
    const found: ListedVolume[] = []
    for await (const volume of listVolumes(this.#client)) {
      if (isVolumeOf(account.id, volume.name)) found.push({ ...volume, name: volume.name.slice(prefix.length) })
    }
    return found
  }

  /** Keeps a volume from being deleted while a sandbox is created on it, which Modal does not list yet. */
  hold (account: Account, name: string): () => void {
    const held = { modalName: volumeName(account.id, name) }
    this.#held.add(held)
    return () => { this.#held.delete(held) }
  }

  /** Deletes a volume that no sandbox mounts. @throws {AppError} VOLUME_NOT_FOUND, VOLUME_IN_USE. */
  async delete (account: Account, name: string): Promise<void> {
    const modalName = volumeName(account.id, name)
    if ([...this.#held].some((held) => held.modalName === modalName)) {
      throw new AppError('VOLUME_IN_USE', { message: `A sandbox is being created on the volume ${name}.`, details: { sandboxes: [] } })
    }
    await callModal('delete volume', lookupMs, () => this.#client.volumes.delete(modalName), { notFound: 'VOLUME_NOT_FOUND' })
  }

  async #create (account: Account, name: string, asked: { version?: 1 | 2 }): Promise<Volume> {
    const limit = account.limits.volumes
    const modalName = volumeName(account.id, name)
    let count = 1
    for await (const { name: other } of listVolumes(this.#client)) {
      if (other !== modalName && isVolumeOf(account.id, other)) count++
      if (count > limit) break
    }
    if (count > limit) throw beyondLimit('volumes', count, limit)
    // Unless asked for, a new volume gets Modal's default: version 2 is a beta that "cannot guarantee no data loss".
    return await this.#client.volumes.fromName(modalName, { ...asked, createIfMissing: true })
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
