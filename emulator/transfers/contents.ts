import { createHash, randomUUID } from 'node:crypto'
import { createWriteStream } from 'node:fs'
import { mkdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { type Readable, Transform } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { removeTree } from '../container/host.js'

const keepMs = 3600_000

/** What was sent: where it is, and checksums in hex. */
export interface Content { path: string, sha256: string, md5: string, size: number }

/** More was sent than announced. */
export class TooLarge extends Error {}

/** The content of files on its way in or out of volumes, by ids that nobody can guess. It is kept for an hour. */
export class Contents {
  readonly #directory: string
  readonly #known = new Map<string, Content>()

  private constructor (directory: string) {
    this.#directory = directory
  }

  /** What an earlier emulator has left there goes. */
  static async open (directory: string): Promise<Contents> {
    await removeTree(directory)
    await mkdir(directory, { recursive: true, mode: 0o700 })
    return new Contents(directory)
  }

  get (id: string): Content | undefined {
    return this.#known.get(id)
  }

  /**
   * Keeps what a stream has.
   * @throws {TooLarge}
   */
  async receive (id: string, stream: Readable | Iterable<Buffer>, maxBytes: number): Promise<Content> {
    // A file of its own: who sends it again may overlap with the first time, and what has come then may be in use.
    const path = this.pathOf(`${id}.${randomUUID()}`)
    const hashes = { sha256: createHash('sha256'), md5: createHash('md5') }
    let size = 0
    const count = new Transform({
      transform (chunk: Buffer, _encoding, done) {
        size += chunk.length
        hashes.sha256.update(chunk)
        hashes.md5.update(chunk)
        done(size > maxBytes ? new TooLarge(`more than ${maxBytes} bytes`) : null, chunk)
      }
    })
    try {
      await pipeline(stream, count, createWriteStream(path))
    } catch (error) {
      await rm(path, { force: true })
      throw error
    }
    return this.#keep(id, { path, size, sha256: hashes.sha256.digest('hex'), md5: hashes.md5.digest('hex') })
  }

  /** Gives content another id, under which it is found as long. */
  name (id: string, content: Content): void {
    this.#known.set(id, content)
  }

  /** Where a file of that id is, or is to be. */
  pathOf (id: string): string {
    return join(this.#directory, id)
  }

  /** Removes what is at the path of an id after its time. */
  forgetLater (id: string): void {
    this.#afterwards(async () => { await rm(this.pathOf(id), { force: true }) })
  }

  #keep (id: string, content: Content): Content {
    this.#known.set(id, content)
    this.#afterwards(async () => {
      for (const [name, named] of this.#known) if (named === content) this.#known.delete(name)
      await rm(content.path, { force: true })
    })
    return content
  }

  #afterwards (work: () => Promise<void>): void {
    setTimeout(() => { work().catch(() => {}) }, keepMs).unref()
  }
}
