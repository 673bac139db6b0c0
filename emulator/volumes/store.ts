import { mkdir, readdir, readFile, rename, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { removeTree, runOnHost } from '../container/host.js'

/**
 * Volumes as chains of generations. A generation is a directory that never changes once it is current, because
 * containers use it as the lower layer of their views; a commit makes the next one, which hard-links unchanged files.
 */
export class VolumeStore {
  readonly #directory: string
  readonly #uses = new Map<string, number>()
  readonly #queues = new Map<string, Promise<unknown>>()

  constructor (dataDir: string) {
    this.#directory = join(dataDir, 'volumes')
  }

  async create (volumeId: string): Promise<void> {
    await mkdir(join(this.#directory, volumeId, '0'), { recursive: true })
    await this.#setCurrent(volumeId, '0')
  }

  async delete (volumeId: string): Promise<void> {
    await removeTree(join(this.#directory, volumeId))
  }

  /** The directory of the current generation. It is kept until it has been released as often as it was acquired. */
  async acquire (volumeId: string): Promise<string> {
    for (;;) {
      const generation = await this.#current(volumeId)
      this.#uses.set(generation, (this.#uses.get(generation) ?? 0) + 1)
      // A commit in between may already be removing it; a later one sees that it is in use.
      if (await this.#current(volumeId) === generation) return generation
      this.release(generation)
    }
  }

  release (generation: string): void {
    this.#uses.set(generation, (this.#uses.get(generation) ?? 1) - 1)
  }

  /** Makes the next generation, a copy of the current one that `change` modifies. A volume's commits are serialized. */
  async commit (volumeId: string, change: (directory: string) => Promise<void>): Promise<void> {
    const before = this.#queues.get(volumeId) ?? Promise.resolve()
    const commit = before.catch(() => {}).then(async () => { await this.#commit(volumeId, change) })
    this.#queues.set(volumeId, commit)
    await commit
  }

  async #commit (volumeId: string, change: (directory: string) => Promise<void>) {
    const current = await this.#current(volumeId)
    const next = String(Number(current.slice(current.lastIndexOf('/') + 1)) + 1)
    const directory = join(this.#directory, volumeId, next)
    await removeTree(directory)
    await runOnHost('cp', '-al', current, directory)
    await change(directory)
    await this.#setCurrent(volumeId, next)
    await this.#removeUnused(volumeId, next)
  }

  async #removeUnused (volumeId: string, current: string) {
    const names = await readdir(join(this.#directory, volumeId))
    const unused = names.filter((name) => /^\d+$/.test(name) && name !== current)
      .map((name) => join(this.#directory, volumeId, name))
      .filter((path) => !(this.#uses.get(path)! > 0))
    await removeTree(...unused)
    for (const path of unused) this.#uses.delete(path)
  }

  async #current (volumeId: string): Promise<string> {
    return join(this.#directory, volumeId, await readFile(join(this.#directory, volumeId, 'current'), 'utf8'))
  }

  async #setCurrent (volumeId: string, generation: string) {
    const file = join(this.#directory, volumeId, 'current')
    await writeFile(`${file}.new`, generation)
    await rename(`${file}.new`, file)
  }
}
