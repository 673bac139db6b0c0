import { closeSync, constants, fstatSync, linkSync, lstatSync, opendirSync, openSync, readlinkSync, type Dirent, type Stats } from 'node:fs'
import { yieldToEventLoop } from './yield-to-event-loop.js'

const { O_RDONLY, O_DIRECTORY, O_NOFOLLOW, O_NONBLOCK } = constants

/**
 * A directory held by descriptor: names are resolved in it even after it was moved, and links are never followed. A
 * container that changes its tree during a walk therefore can't lead the walk out of it.
 */
export class DirectoryHandle {
  readonly #descriptor: number

  private constructor (descriptor: number) {
    this.#descriptor = descriptor
  }

  /** @param path trusted except for its last name. @throws ENOTDIR or ELOOP when that is a link */
  static open (path: string): DirectoryHandle {
    return new DirectoryHandle(openSync(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW))
  }

  async entries (): Promise<Dirent[]> {
    return await listDirectory(this.#at(''))
  }

  openDirectory (name: string): DirectoryHandle {
    return DirectoryHandle.open(this.#at(name))
  }

  /** A descriptor, which the caller closes. Opening does not wait for the other end of a pipe. */
  openFile (name: string): number {
    return openSync(this.#at(name), O_RDONLY | O_NOFOLLOW | O_NONBLOCK)
  }

  /** The device number of its file system. */
  device (): number {
    return fstatSync(this.#descriptor).dev
  }

  readLink (name: string): string {
    return readlinkSync(this.#at(name))
  }

  /** Gives an entry a second name elsewhere. */
  link (name: string, target: string): void {
    linkSync(this.#at(name), target)
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

/** All entries of a directory, however many. */
export async function listDirectory (path: string): Promise<Dirent[]> {
  const directory = opendirSync(path, { bufferSize: 256 })
  const entries: Dirent[] = []
  try {
    for (let entry; (entry = directory.readSync()) !== null;) {
      entries.push(entry)
      await yieldToEventLoop()
    }
  } finally {
    directory.closeSync()
  }
  return entries
}
