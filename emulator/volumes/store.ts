import { mkdir, readdir, readFile, readlink, rename, rm, symlink } from 'node:fs/promises'
import { join } from 'node:path'
import { removeTree, runOnHost } from '../container/host.js'

const asidePrefix = 'aside-'

/** Modifies a generation that is being made; `scratch` is a name beside it that is free. */
type Change<T> = (directory: string, scratch: string) => Promise<T>

/**
 * Volumes as chains of generations. A generation is a directory that never changes once it is current, because
 * containers use it as the lower layer of their views; a commit makes the next one, which hard-links unchanged files.
 */
export class VolumeStore {
  readonly #directory: string
  readonly #uses = new Map<string, number>()
  readonly #queues = new Map<string, Promise<unknown>>()

  /** Whether volumes keep times in whole seconds only, and no hard links. */
  readonly plain: boolean

  constructor (dataDir: string, plain = false) {
    this.plain = plain
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

  /**
   * Makes the next generation, a copy of the current one that `change` modifies. A volume's commits are serialized.
   * When it fails, the current generation stays.
   */
  async commit<T> (volumeId: string, change: Change<T>): Promise<T> {
    const before = this.#queues.get(volumeId) ?? Promise.resolve()
    const commit = before.catch(() => {}).then(async () => await this.#commit(volumeId, change))
    this.#queues.set(volumeId, commit)
    return await commit
  }

  /** Keeps writes that could not be committed. A rename needs no space, so even what they are for is in the name. */
  async setAside (volumeId: string, upper: string, subPath: string[]): Promise<void> {
    const name = `${asidePrefix}${Date.now()}-${encodeURIComponent(subPath.join('/'))}`
    await rename(upper, join(this.#directory, volumeId, name))
  }

  /** What was set aside, oldest first. */
  async aside (volumeId: string): Promise<Array<{ upper: string, subPath: string }>> {
    const directory = join(this.#directory, volumeId)
    const names = (await readdir(directory)).filter((name) => name.startsWith(asidePrefix)).sort()
    return names.map((name) => ({
      upper: join(directory, name),
      subPath: decodeURIComponent(name.slice(asidePrefix.length).replace(/^\d+-/, ''))
    }))
  }

  async #commit<T> (volumeId: string, change: Change<T>): Promise<T> {
    const current = await this.#current(volumeId)
    const next = String(Number(current.slice(current.lastIndexOf('/') + 1)) + 1)
    const directory = join(this.#directory, volumeId, next)
    const scratch = `${directory}.part`
    let result: T
    try {
      await removeTree(directory, scratch)
      await runOnHost('cp', '-al', current, directory)
      result = await change(directory, scratch)
      await this.#setCurrent(volumeId, next)
    } catch (error) {
      await removeTree(directory, scratch).catch(() => {})
      throw error
    }
    // It is committed, whatever is left of older ones.
    await this.#removeUnused(volumeId, next).catch(() => {})
    return result
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
    const file = join(this.#directory, volumeId, 'current')
    // Once it was a file.
    return join(this.#directory, volumeId, await readlink(file).catch(async () => await readFile(file, 'utf8')))
  }

  /** A link, which takes no space of its own. */
  async #setCurrent (volumeId: string, generation: string) {
    const file = join(this.#directory, volumeId, 'current')
    await rm(`${file}.new`, { force: true })
    await symlink(generation, `${file}.new`)
    await rename(`${file}.new`, file)
  }
}
