import { constants, type Dirent, type Stats } from 'node:fs'
import { lstat, open, readdir, readlink, type FileHandle } from 'node:fs/promises'

const { O_RDONLY, O_DIRECTORY, O_NOFOLLOW, O_NONBLOCK } = constants

/**
 * A directory held by descriptor: its entries are looked up in it, wherever it is moved meanwhile, and no link is ever
 * followed. So a container that changes its tree under a walk can't lead the walk out of it.
 */
export class HeldDirectory {
  readonly #handle: FileHandle

  private constructor (handle: FileHandle) {
    this.#handle = handle
  }

  /** @param path trusted but for its last name: ENOTDIR or ELOOP when that is a link. */
  static async open (path: string): Promise<HeldDirectory> {
    return new HeldDirectory(await open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW))
  }

  async entries (): Promise<Dirent[]> {
    return await readdir(this.#at(''), { withFileTypes: true })
  }

  async directory (name: string): Promise<HeldDirectory> {
    return await HeldDirectory.open(this.#at(name))
  }

  async file (name: string): Promise<FileHandle> {
    return await open(this.#at(name), O_RDONLY | O_NOFOLLOW | O_NONBLOCK)
  }

  /** The file system it lies on. */
  async device (): Promise<number> {
    return (await this.#handle.stat()).dev
  }

  async link (name: string): Promise<string> {
    return await readlink(this.#at(name))
  }

  async stats (name: string): Promise<Stats> {
    return await lstat(this.#at(name))
  }

  async close (): Promise<void> {
    await this.#handle.close()
  }

  #at (name: string): string {
    return `/proc/self/fd/${this.#handle.fd}/${name}`
  }
}
