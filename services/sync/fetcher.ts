import { digest } from '../../lib/ids.js'
import type { Courier } from './courier.js'
import { S3Fault } from './faults.js'
import type { Held } from './held.js'
import type { Mover } from './mover.js'
import type { GetOptions, ObjectStore, StoredObject } from './object-store.js'
import { moverPatience } from './parts.js'
import type { Target } from './plan-download.js'

/** Of a smaller object of others it costs as much to ask what it is as to fetch it. */
const worthAsking = 256 * 1024

/** Gets objects and parts: by a mover when there is one, who keeps the bytes; by this service otherwise. */
export class Fetcher {
  readonly #store: ObjectStore
  readonly #mover: Mover | undefined
  #failures = 0

  constructor (store: ObjectStore, mover: Mover | undefined) {
    this.#store = store
    this.#mover = mover
  }

  /** Whether it has a mover that works. */
  get moves (): boolean {
    return this.#mover !== undefined && this.#failures < moverPatience
  }

  /** A whole object. @throws {S3Fault | CourierLost} */
  async whole (target: Target): Promise<{ object: Omit<StoredObject, 'body'> & { body: Buffer | Held }, hash: string }> {
    const { key, etag, size, saved } = target
    const expected = saved?.hashes[0]
    if (this.moves && (saved === undefined ? size >= worthAsking : saved.type === 'file')) {
      const metadata = saved === undefined ? await this.metadata(target) : {}
      const moved = await this.byMover(key, { etag }, size, expected)
      if (moved !== undefined) return { object: { body: moved.held, size, etag, metadata }, hash: moved.hash }
    }
    return await twice(expected, async () => {
      const object = await this.#store.get(key, { etag })
      return { object, hash: digest(object.body) }
    })
  }

  /** What an object that is not empty says about itself. @throws {S3Fault} */
  async metadata ({ key, etag }: Target): Promise<Record<string, string>> {
    return (await this.#store.get(key, { etag, start: 0, length: 1 })).metadata
  }

  /** @returns undefined when the mover can't; others may. @throws {CourierLost} */
  async byMover (
    key: string, options: Omit<GetOptions, 'into'>, size: number, expected: string | undefined
  ): Promise<{ held: Held, hash: string } | undefined> {
    const mover = this.#mover
    if (mover === undefined || !this.moves) return
    try {
      const send = async (courier: Courier) => await this.#store.getTo(courier, key, options)
      const fetched = await twice(expected, async () => await mover.fetch(size, send))
      this.#failures = 0
      return fetched
    } catch (error) {
      if (!(error instanceof S3Fault)) throw error
      this.#failures++
    }
  }

  /** A part into memory of ours. @returns its hash. @throws {S3Fault} */
  async part (
    key: string, options: GetOptions & { into: Buffer }, expected: string | undefined
  ): Promise<string> {
    return (await twice(expected, async () => {
      await this.#store.get(key, options)
      return { hash: digest(options.into) }
    })).hash
  }
}

/** What is not as it was stored is fetched once more; S3 itself knows best then. */
async function twice<T extends { hash: string }> (expected: string | undefined, fetch: () => Promise<T>): Promise<T> {
  const first = await fetch()
  return expected === undefined || first.hash === expected ? first : await fetch()
}
