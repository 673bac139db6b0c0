import { fchmodSync, fchownSync, futimesSync } from 'node:fs'
import { chmod, chown, lchown, link, lstat, lutimes, mkdir, open, readdir, rm, symlink, utimes } from 'node:fs/promises'
import { basename, dirname, join, relative } from 'node:path'
import { setAttributes } from './attributes.js'
import { ImageRoot, missing } from './root.js'
import { ImageError, readTar, type TarEntry } from './tar.js'

/** What one image may take: several times what the largest images in common use do. */
export const limits = { bytes: 64 * 1024 ** 3, entries: 1_000_000, nameBytes: 128 * 1024 ** 2 }
const whiteout = '.wh.'
const opaque = '.wh..wh..opq'

interface Attributes { mode: number, uid: number, gid: number, mtime: number }

interface UnpackOptions {
  /** Whether files get the owners that they have in the image; only root can give them. */
  keepsOwners: boolean
  signal: AbortSignal
  limits?: typeof limits
}

/**
 * Writes the layers of an image over each other into one directory, as a container that has all of them would see it.
 * The directory must be reachable by nobody else. Nothing is written outside of it, whatever the archives say.
 */
export class Unpacker {
  /** What could not be kept, for people: kind and how many. */
  readonly leftOut = new Map<string, number>()
  readonly #root: ImageRoot
  readonly #options: UnpackOptions
  readonly #left: typeof limits
  /** Set at the end: until then, directories must be writable, and get a new time with each entry. */
  readonly #directories = new Map<string, Attributes>()
  readonly #xattrs = new Map<string, Map<string, Buffer>>()
  /** What the current layer has written, with the directories above: its whiteouts are about the layers below. */
  #written = new Set<string>()

  constructor (root: string, options: UnpackOptions) {
    this.#root = new ImageRoot(root, (path) => {
      this.#directories.set(path, { mode: 0o755, uid: 0, gid: 0, mtime: Date.now() / 1000 })
    })
    this.#options = options
    this.#left = { ...options.limits ?? limits }
  }

  /** @throws {ImageError} for what is not an image's layer, or too large */
  async layer (archive: AsyncIterable<Buffer>): Promise<void> {
    this.#written = new Set()
    for await (const [entry, content] of readTar(archive)) {
      this.#options.signal.throwIfAborted()
      this.#count(entry)
      const path = normal(entry.path)
      const name = basename(path)
      if (path === '' && entry.type === 'directory') this.#directories.set(this.#root.path, entry)
      else if (path === '') throw new ImageError('it has a file in place of its root')
      else if (name === opaque) await this.#clear(dirname(path))
      else if (name.startsWith(`${whiteout}${whiteout}`)) continue
      else if (name.startsWith(whiteout)) await this.#whiteOut(dirname(path), name.slice(whiteout.length))
      else await this.#write(path, entry, content)
    }
  }

  /** To be called after the last layer. */
  async finish (): Promise<void> {
    for (const [path, xattrs] of this.#xattrs) if (!await this.#isStill(path)) xattrs.clear()
    for (const [kind, count] of await setAttributes(this.#xattrs)) this.#leaveOut(kind, count)
    // From the deepest to the root: the mode of a directory may take away the way into it.
    for (const [path, attributes] of [...this.#directories].sort(([a], [b]) => b.length - a.length)) {
      if (!await this.#isStill(path)) continue
      if (this.#options.keepsOwners) await chown(path, attributes.uid, attributes.gid)
      await chmod(path, attributes.mode)
      await utimes(path, attributes.mtime, attributes.mtime)
    }
  }

  async #write (path: string, entry: TarEntry, content: AsyncIterable<Buffer>): Promise<void> {
    if (entry.type === 'device') {
      this.#leaveOut('devices and FIFOs', 1)
      return
    }
    const file = join(await this.#root.directory(dirname(path)), basename(path))
    const before = await lstat(file).catch(missing)
    if (before !== undefined && !(before.isDirectory() && entry.type === 'directory')) await this.#remove(file)
    this.#mark(file)
    if (entry.type === 'directory') {
      if (!before?.isDirectory()) await mkdir(file, 0o700)
      this.#directories.set(file, entry)
    } else if (entry.type === 'link') {
      await symlink(entry.target, file)
      if (this.#options.keepsOwners) await lchown(file, entry.uid, entry.gid)
      await lutimes(file, entry.mtime, entry.mtime)
    } else if (entry.type === 'hard link') {
      await link(await this.#linked(entry), file)
    } else {
      await this.#writeFile(file, entry, content)
    }
    if (entry.xattrs.size > 0 && (entry.type === 'file' || entry.type === 'directory')) this.#xattrs.set(file, entry.xattrs)
  }

  async #writeFile (file: string, entry: TarEntry, content: AsyncIterable<Buffer>): Promise<void> {
    // It must be new: what was there has been removed, and a link is never followed.
    const handle = await open(file, 'wx', 0o600)
    try {
      for await (const chunk of content) await handle.writeFile(chunk)
      // These take less time than to wait for a thread that does them.
      if (this.#options.keepsOwners) fchownSync(handle.fd, entry.uid, entry.gid)
      // After the owner, whose change takes away setuid.
      fchmodSync(handle.fd, entry.mode)
      futimesSync(handle.fd, entry.mtime, entry.mtime)
    } finally {
      await handle.close()
    }
  }

  async #linked ({ path, target }: TarEntry): Promise<string> {
    const name = normal(target)
    const directory = await this.#root.existing(dirname(name))
    const file = join(directory ?? '', basename(name))
    const found = directory === undefined || name === '' ? undefined : await lstat(file).catch(missing)
    if (found === undefined || found.isDirectory()) throw new ImageError(`${path} is a hard link to ${target}, which is not a file of the image`)
    return file
  }

  /** Removes what the layers below have at a path. */
  async #whiteOut (directory: string, name: string): Promise<void> {
    if (name === '' || name === '.' || name === '..') throw new ImageError(`it has a whiteout of '${name}'`)
    const parent = await this.#root.existing(directory)
    if (parent !== undefined) await this.#removeOlder(join(parent, name))
  }

  /** Removes what the layers below have in a directory. */
  async #clear (directory: string): Promise<void> {
    const found = await this.#root.existing(directory)
    if (found !== undefined) for (const name of await readdir(found)) await this.#removeOlder(join(found, name))
  }

  async #removeOlder (path: string): Promise<void> {
    if (!this.#written.has(path)) return await this.#remove(path)
    if (!(await lstat(path).catch(missing))?.isDirectory()) return
    for (const name of await readdir(path)) await this.#removeOlder(join(path, name))
  }

  async #remove (path: string): Promise<void> {
    await rm(path, { recursive: true, force: true })
    this.#root.forget()
    this.#directories.delete(path)
    this.#xattrs.delete(path)
  }

  #mark (path: string): void {
    for (let at = path; at !== this.#root.path && !this.#written.has(at); at = dirname(at)) this.#written.add(at)
  }

  /** Whether no link has taken the place of the path or of a directory on the way. */
  async #isStill (path: string): Promise<boolean> {
    const inImage = relative(this.#root.path, path)
    const directory = await this.#root.existing(dirname(inImage))
    if (inImage !== '' && directory !== dirname(path)) return false
    const found = await lstat(path).catch(missing)
    return found !== undefined && found.isDirectory() === this.#directories.has(path) && !found.isSymbolicLink()
  }

  #count ({ path, target, size, xattrs }: TarEntry): void {
    this.#left.entries--
    this.#left.bytes -= size
    this.#left.nameBytes -= path.length + target.length
    for (const [name, value] of xattrs) this.#left.nameBytes -= name.length + value.length
    if (Math.min(this.#left.entries, this.#left.bytes, this.#left.nameBytes) >= 0) return
    const { bytes, entries } = this.#options.limits ?? limits
    throw new ImageError(`it is larger than what the local emulator takes: ${bytes / 1024 ** 3} GiB in ${entries} files`)
  }

  #leaveOut (kind: string, count: number): void {
    this.leftOut.set(kind, (this.leftOut.get(kind) ?? 0) + count)
  }
}

/** A path in an archive without its beginning at the root, `.` and empty names; '' is the root itself. */
function normal (path: string): string {
  const names = path.split('/').filter((name) => name !== '' && name !== '.')
  if (names.includes('..')) throw new ImageError(`it has a path that leads out of it: ${path}`)
  return names.join('/')
}
