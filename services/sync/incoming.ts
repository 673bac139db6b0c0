import { CourierRefused, type Courier } from './courier.js'
import { twice } from './fetch.js'
import { settableTime } from './looks.js'
import type { Answer, Mover } from './mover.js'
import type { ObjectStore } from './object-store.js'
import type { Target } from './plan-download.js'

/** How a file has to be in the end. */
export interface Attributes { mode: number, mtime: string }

/** What was fetched, as S3 had it. */
export interface Fetched { hash: string, metadata: Record<string, string> }

/** A file that a mover fetches: it is in its place when all of it is there, and never before. */
export class Incoming {
  readonly #mover: Mover
  readonly #store: ObjectStore
  readonly #target: Target
  readonly #part: number

  constructor (mover: Mover, store: ObjectStore, target: Target) {
    this.#mover = mover
    this.#store = store
    this.#target = target
    this.#part = mover.number()
  }

  /**
   * A small object in one step; what is not as it was stored is fetched once more, as S3 knows best.
   * @returns also the hash of what is in its place now. @throws {S3Fault | CourierLost | CourierRefused}
   */
  async place (expected: string | undefined, { mode, mtime }: Attributes): Promise<Fetched & { found: string }> {
    const { path, size } = this.#target
    let found: string | undefined
    const once = async (expected: string | undefined) => await this.#get(undefined, async (permit) => {
      const answer = await this.#ask('place', { ...permit, path, size, mode, mtime: settableTime(mtime), expected })
      found = answer.found
      return answer
    })
    const fetched = await twice(expected, async (attempt) => await once(attempt === 1 ? expected : undefined))
    return { ...fetched, found: found! }
  }

  /** @throws {CourierLost | CourierRefused} */
  async create (): Promise<void> {
    await this.#tell('create', { path: this.#target.path })
  }

  /** The object, or bytes of it, to where they belong. @throws {S3Fault | CourierLost | CourierRefused} */
  async fetch (expected?: string, range?: { start: number, length: number }): Promise<Fetched> {
    const { start, length: size } = range ?? { start: 0, length: this.#target.size }
    return await twice(expected, async () =>
      await this.#get(range, (permit) => this.#ask('fetch', { ...permit, start, size })))
  }

  /** @param check whether to read it again. @returns the hash then. @throws {CourierLost | CourierRefused} */
  async finish ({ mode, mtime }: Attributes, check: boolean): Promise<string | undefined> {
    return (await this.#tell('finish', { mode, mtime: settableTime(mtime), check })).found
  }

  /** What is not to be finished. */
  async discard (): Promise<void> {
    await this.#ask('discard', {}).catch(() => {})
  }

  async #get (range: { start: number, length: number } | undefined, courier: Courier): Promise<Fetched> {
    const { key, etag } = this.#target
    return await this.#store.getTo(courier, key, { etag, ...range })
  }

  /** What has nothing to do with S3. */
  async #tell (task: string, details: object): Promise<Answer> {
    const answer = await this.#ask(task, details)
    if (answer.code !== undefined) throw new CourierRefused(answer.code)
    return answer
  }

  async #ask (task: string, details: object): Promise<Answer> {
    const answer = await this.#mover.ask(task, { part: this.#part, ...details })
    if (answer.refused !== undefined) throw new CourierRefused(answer.refused)
    return answer
  }
}
