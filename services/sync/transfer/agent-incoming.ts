import type { PackedTarget, PackTarget } from '../packs.js'
import type { Target } from '../plan-download.js'
import type { ObjectStore } from '../s3/object-store.js'
import { settableTime } from '../workspace/stat-records.js'
import type { AgentReply, TransferAgent } from './agent.js'
import { LocalFileError, type SendPresigned } from './courier.js'
import { fetchVerified } from './fetch.js'

/** How a file has to be in the end. */
export interface FileAttributes { mode: number, mtime: string }

/** What was fetched, as S3 had it. */
export interface FetchedObject {
  hash: string
  metadata: Record<string, string>
  /** Whether it was read again in its place as it was fetched. */
  proved?: boolean
}

/** A file that a mover fetches: it is in its place when all of it is there, and never before. */
export class IncomingFile {
  readonly #mover: TransferAgent
  readonly #store: ObjectStore
  readonly #target: Target
  readonly #number: number

  constructor (mover: TransferAgent, store: ObjectStore, target: Target) {
    this.#mover = mover
    this.#store = store
    this.#target = target
    this.#number = mover.nextId()
  }

  /**
   * A small object in one step; what is not as it was stored is fetched once more, as S3 knows best.
   * @throws {S3Fault | CourierLost | LocalFileError}
   */
  async fetchAndCommit (expected: string | undefined, attributes: FileAttributes): Promise<FetchedObject> {
    const settled = { ...this.#settled(attributes), size: this.#target.size }
    return await fetchVerified(expected, async (attempt) => await this.#get(undefined, (permit) =>
      this.#ask('place', { ...permit, ...settled, ...(attempt === 1 && { expected }) })))
  }

  /** A small object that is to be settled, or dropped. @throws {S3Fault | CourierLost} */
  async fetchWhole (): Promise<FetchedObject> {
    const { size } = this.#target
    return await this.#get(undefined, (permit) => this.#ask('get', { ...permit, body: this.#number, size }))
  }

  /** @returns whether it was read again in its place as it was fetched. @throws {CourierLost | LocalFileError} */
  async commit (attributes: FileAttributes): Promise<boolean> {
    const answer = await this.#tell('settle', { body: this.#number, ...this.#settled(attributes) })
    return answer.proved === true
  }

  async drop (): Promise<void> {
    await this.#ask('drop', { body: this.#number }).catch(() => {})
  }

  /** A file that gets its content piece by piece. @throws {CourierLost | LocalFileError} */
  async create (): Promise<void> {
    await this.#tell('create', { part: this.#number, path: this.#target.path })
  }

  /** Bytes of the object to where they belong. @throws {S3Fault | CourierLost | LocalFileError} */
  async fetchPart (expected: string | undefined, start: number, size: number): Promise<FetchedObject> {
    return await fetchVerified(expected, async () => await this.#get({ start, length: size },
      (permit) => this.#ask('fetch', { ...permit, part: this.#number, start, size })))
  }

  /** @throws {CourierLost | LocalFileError} */
  async commitParts (attributes: FileAttributes): Promise<void> {
    await this.#tell('finish', { part: this.#number, ...this.#settled(attributes) })
  }

  /** What is not to be finished. */
  async discardParts (): Promise<void> {
    await this.#ask('discard', { part: this.#number }).catch(() => {})
  }

  #settled ({ mode, mtime }: FileAttributes) {
    return { path: this.#target.path, mode, mtime: settableTime(mtime) }
  }

  async #get (range: { start: number, length: number } | undefined, courier: SendPresigned<AgentReply>): Promise<FetchedObject> {
    const { key, etag } = this.#target
    const answer = await this.#store.getTo<AgentReply>(courier, key, { etag, ...range })
    return { ...answer, hash: answer.hash! }
  }

  /** What has nothing to do with S3. */
  async #tell (task: string, details: object): Promise<AgentReply> {
    const answer = await this.#ask(task, details)
    if (answer.code !== undefined) throw new LocalFileError(answer.code)
    return answer
  }

  async #ask (task: string, details: object): Promise<AgentReply> {
    const answer = await this.#mover.call(task, details)
    if (answer.refused !== undefined) throw new LocalFileError(answer.refused)
    return answer
  }
}

/**
 * Has a pack fetched, and files of it put in their places.
 * @returns targets that are not there. @throws {S3Fault | CourierLost}
 */
export async function unpack (
  mover: TransferAgent, store: ObjectStore, { key, size, targets }: PackTarget
): Promise<Set<PackedTarget>> {
  const files = targets.map(({ path, size, saved: { mode, mtime, hashes, packed } }) =>
    [path, packed.start, size, mode, settableTime(mtime), hashes[0]])
  const { failed } = await store.getTo<AgentReply>((permit) => mover.call('unpack', { ...permit, size, files }), key, {})
  return new Set(failed?.map((index) => targets[index]!))
}
