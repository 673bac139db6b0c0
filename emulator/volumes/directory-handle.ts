import { closeSync, constants, fstatSync, lstatSync, opendirSync, openSync, readlinkSync, type Dirent, type Stats } from 'node:fs'
import { breathe } from './yield-to-event-loop.js'

const { O_RDONLY, O_DIRECTORY, O_NOFOLLOW, O_NONBLOCK } = constants

/**
 * A directory held by descriptor: its entries are looked up in it, wherever it is moved meanwhile, and no link is ever
 * followed. So a container that changes its tree under a walk can't lead the walk out of it.
 */
export class HeldDirectory {
  readonly #descriptor: number

  private constructor (descriptor: number) {
    this.#descriptor = descriptor
  }

  /** @param path trusted but for its last name: ENOTDIR or ELOOP when that is a link. */
  static open (path: string): HeldDirectory {
    return new HeldDirectory(openSync(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW))
  }

  async entries (): Promise<Dirent[]> {
    return await listDirectory(this.#at(''))
  }

  directory (name: string): HeldDirectory {
    return HeldDirectory.open(this.#at(name))
  }

  /** A descriptor, for the caller to close. Opening does not wait for a pipe's other end. */
  file (name: string): number {
    return openSync(this.#at(name), O_RDONLY | O_NOFOLLOW | O_NONBLOCK)
  }

  /** The file system it lies on. */
  device (): number {
    return fstatSync(this.#descriptor).dev
  }

  link (name: string): string {
    return readlinkSync(this.#at(name))
  }

  stats (name: string): Stats {
    return lstatSync(this.#at(name))
  }

  close (): void {
    closeSync(this.#descriptor)
  }

  #at (name: string): string {
    return `/proc/self/fd/${this.#descriptor}/${name}`
  }
}

/** What a directory holds, however much it is. */
export async function listDirectory (path: string): Promise<Dirent[]> {
  const directory = opendirSync(path, { bufferSize: 256 })
  const entries: Dirent[] = []
  try {
    for (let entry; (entry = directory.readSync()) !== null;) {
      entries.push(entry)
      await breathe()
    }
  } finally {
    directory.closeSync()
  }
  return entries
}
