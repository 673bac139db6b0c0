import { lstat, mkdir, readlink } from 'node:fs/promises'
import { join } from 'node:path'
import { ImageError } from './tar.js'

/** Like the kernel's own limit. */
const maxLinks = 40

/**
 * Finds directories below a root as a process does whose root it is: absolute links and `..` lead to places within.
 * Nobody else may change anything below the root in the meantime.
 */
export class ImageRoot {
  readonly path: string
  /** Directories that were found before, by the path in the image that led there. */
  readonly #known = new Map<string, string>()
  readonly #onMade: (directory: string) => void

  /** @param onMade told of directories that were missing */
  constructor (path: string, onMade: (directory: string) => void) {
    this.path = path
    this.#onMade = onMade
  }

  /**
   * The host's path of a directory, without links; it is made when it is missing.
   * @throws {ImageError} when something else is in the way
   */
  async directory (path: string): Promise<string> {
    return (await this.#find(path, true))!
  }

  /** The same, but makes nothing: undefined when there is no such directory. */
  async existing (path: string): Promise<string | undefined> {
    return await this.#find(path, false)
  }

  /** To be called when something was removed or replaced: paths may lead elsewhere then. */
  forget (): void {
    this.#known.clear()
  }

  async #find (path: string, make: boolean): Promise<string | undefined> {
    const found = this.#known.get(path) ?? await this.#walk(path, make)
    if (found !== undefined) this.#known.set(path, found)
    return found
  }

  async #walk (path: string, make: boolean): Promise<string | undefined> {
    const left = path.split('/').reverse()
    let at: string[] = []
    for (let links = 0; left.length > 0;) {
      const name = left.pop()!
      if (name === '' || name === '.') continue
      if (name === '..') {
        at.pop()
        continue
      }
      const next = join(this.path, ...at, name)
      const found = await lstat(next).catch(missing)
      if (found?.isSymbolicLink()) {
        if (++links > maxLinks) throw new ImageError(`too many links lead to ${path}`)
        const target = await readlink(next)
        if (target.startsWith('/')) at = []
        left.push(...target.split('/').reverse())
        continue
      }
      if (found === undefined && !make) return
      if (found !== undefined && !found.isDirectory()) {
        if (!make) return
        throw new ImageError(`it has a file below ${[...at, name].join('/')}, which is not a directory`)
      }
      if (found === undefined) {
        await mkdir(next, 0o700)
        this.#onMade(next)
      }
      at.push(name)
    }
    return join(this.path, ...at)
  }
}

/** For `catch`: undefined for what does not exist. @throws every other error */
export function missing (error: NodeJS.ErrnoException): undefined {
  if (error.code !== 'ENOENT') throw error
}
