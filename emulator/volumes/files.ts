import { chmod, copyFile, cp, link, lstat, mkdir, rename, rm, utimes } from 'node:fs/promises'
import type { Stats } from 'node:fs'
import { join } from 'node:path'
import { alreadyExists, failedPrecondition, invalid, notFound } from '../control/status.js'
import { listDirectory } from './directory-handle.js'
import type { VolumeStore } from './store.js'

export interface VolumeEntry {
  path: string
  type: 'file' | 'directory' | 'symlink'
  size: number
  /** In seconds since the epoch. */
  mtime: number
}

/** A file to be. */
export interface NewFile {
  path: string
  mode: number
  /** Makes a file there with the content. */
  write: (target: string) => Promise<void>
}

/**
 * Files of volumes without a sandbox: what is committed is read, and each change is a commit. Links are never followed,
 * as they may lead out of the volume.
 */
export class VolumeFiles {
  readonly #store: VolumeStore

  constructor (store: VolumeStore) {
    this.#store = store
  }

  /**
   * What is in a directory, or a file itself; with `recursive`, below it as well.
   * @throws {StatusError} NOT_FOUND
   */
  async * list (volumeId: string, path: string, recursive: boolean): AsyncIterable<VolumeEntry> {
    const names = namesOf(path)
    const root = await this.#store.acquire(volumeId)
    try {
      const stats = await statsAt(root, names)
      if (!stats.isDirectory()) yield entryOf(names, stats)
      else yield * below(root, names, recursive)
    } finally {
      this.#store.release(root)
    }
  }

  /**
   * Gives a file a second name outside of the volume, where its content stays as it is. Returns the size.
   * @throws {StatusError} NOT_FOUND; FAILED_PRECONDITION when it is none
   */
  async pin (volumeId: string, path: string, target: string): Promise<number> {
    const names = namesOf(path)
    const root = await this.#store.acquire(volumeId)
    try {
      const stats = await statsAt(root, names)
      if (!stats.isFile()) throw failedPrecondition(`${path}: Not a regular file`)
      await link(join(root, ...names), target)
      return stats.size
    } finally {
      this.#store.release(root)
    }
  }

  /**
   * Checks what {@link put} would.
   * @throws {StatusError} ALREADY_EXISTS, FAILED_PRECONDITION, INVALID_ARGUMENT
   */
  async checkPut (volumeId: string, paths: string[], overwrite: boolean): Promise<void> {
    const root = await this.#store.acquire(volumeId)
    try {
      for (const path of paths) await checkPlace(root, path, overwrite)
    } finally {
      this.#store.release(root)
    }
  }

  /**
   * Makes files, and the directories above them: all of them or none.
   * @throws {StatusError} ALREADY_EXISTS, FAILED_PRECONDITION, INVALID_ARGUMENT
   */
  async put (volumeId: string, files: NewFile[], overwrite: boolean): Promise<void> {
    await this.#store.commit(volumeId, async (root, scratch) => {
      for (const { path } of files) await checkPlace(root, path, overwrite)
      for (const { path, mode, write } of files) {
        const names = namesOf(path)
        await makeParents(root, names)
        await write(scratch)
        await chmod(scratch, mode & 0o7777)
        await this.#stamp(scratch)
        await rename(scratch, join(root, ...names)).catch((error) => { throw placeError(path, error) })
      }
    })
  }

  /** @throws {StatusError} NOT_FOUND, INVALID_ARGUMENT */
  async remove (volumeId: string, path: string, recursive: boolean): Promise<void> {
    const names = namesOf(path)
    if (names.length === 0) throw invalid('The root of a volume can\'t be removed')
    await this.#store.commit(volumeId, async (root) => {
      const stats = await statsAt(root, names)
      if (stats.isDirectory() && !recursive) throw invalid(`${path}: Is a directory, and recursive is not set`)
      await rm(join(root, ...names), { recursive })
    })
  }

  /**
   * As `cp` does: into a directory if there is one, else to a file of that name.
   * @throws {StatusError} NOT_FOUND, INVALID_ARGUMENT
   */
  async copy (volumeId: string, sources: string[], destination: string, recursive: boolean): Promise<void> {
    if (sources.length === 0) throw invalid('src_paths must not be empty')
    const to = namesOf(destination)
    await this.#store.commit(volumeId, async (root) => {
      const isDirectory = (await statsAt(root, to).catch(() => undefined))?.isDirectory() ?? false
      if (!isDirectory && (sources.length > 1 || destination.endsWith('/'))) throw invalid(`${destination} is not a directory.`)
      for (const source of sources) {
        const from = namesOf(source)
        const target = isDirectory ? [...to, ...from.slice(-1)] : to
        if (!recursive && (await statsAt(root, from)).isDirectory()) throw invalid(`${source}: Is a directory, and recursive is not set`)
        await this.#copyOne(root, from, target)
      }
    })
  }

  async #copyOne (root: string, from: string[], target: string[]) {
    if (from.every((name, index) => target[index] === name)) throw invalid(`${from.join('/')} can't be copied to itself, or below`)
    const parent = target.slice(0, -1)
    if (!(await statsAt(root, parent)).isDirectory()) throw failedPrecondition(`${parent.join('/')}: Not a directory`)
    const [source, path] = [join(root, ...from), join(root, ...target)]
    try {
      if ((await statsAt(root, from)).isFile()) {
        // Never into a file that is there: other generations of the volume share it.
        await rm(path, { force: true })
        await copyFile(source, path)
        await this.#stamp(path)
      } else {
        await cp(source, path, { recursive: true, verbatimSymlinks: true })
      }
    } catch (error) {
      throw placeError(target.join('/'), error as NodeJS.ErrnoException)
    }
  }

  /** Some volumes keep times in whole seconds only. */
  async #stamp (path: string): Promise<void> {
    const now = Math.floor(Date.now() / 1000)
    if (this.#store.plain) await utimes(path, now, now)
  }
}

/** @throws {StatusError} INVALID_ARGUMENT */
function namesOf (path: string): string[] {
  const names = path.split('/').filter((name) => name !== '' && name !== '.')
  if (names.includes('..')) throw invalid(`A path in a volume must not contain '..': ${path}`)
  if (names.some((name) => name.includes('\0') || Buffer.byteLength(name) > 255)) throw invalid(`Not a path in a volume: ${path}`)
  return names
}

/** @throws {StatusError} NOT_FOUND, also when something on the way is no directory */
async function statsAt (root: string, names: string[]): Promise<Stats> {
  let at = root
  let stats = await lstat(at)
  for (const name of names) {
    at = join(at, name)
    const next = stats.isDirectory() ? await lstat(at).catch(() => undefined) : undefined
    if (next === undefined) throw notFound(`${names.join('/')}: No such file or directory`)
    stats = next
  }
  return stats
}

async function * below (root: string, names: string[], recursive: boolean): AsyncIterable<VolumeEntry> {
  const entries = await listDirectory(join(root, ...names))
  const sorted = entries.toSorted((one, other) => Buffer.compare(Buffer.from(one.name), Buffer.from(other.name)))
  for (const { name } of sorted) {
    const stats = await lstat(join(root, ...names, name))
    yield entryOf([...names, name], stats)
    if (recursive && stats.isDirectory()) yield * below(root, [...names, name], recursive)
  }
}

function entryOf (names: string[], stats: Stats): VolumeEntry {
  const type = stats.isDirectory() ? 'directory' : stats.isSymbolicLink() ? 'symlink' : 'file'
  const size = type === 'directory' ? 0 : stats.size
  return { path: names.join('/'), type, size, mtime: Math.floor(stats.mtimeMs / 1000) }
}

async function checkPlace (root: string, path: string, overwrite: boolean): Promise<void> {
  const names = namesOf(path)
  if (names.length === 0 || path.endsWith('/')) throw invalid(`${path}: Not the path of a file`)
  for (const [index] of names.entries()) {
    const stats = await statsAt(root, names.slice(0, index + 1)).catch(() => undefined)
    if (stats === undefined) return
    const isLast = index === names.length - 1
    if (!isLast && !stats.isDirectory()) throw failedPrecondition(`${path}: Not a directory`)
    if (isLast && stats.isDirectory()) throw failedPrecondition(`${path}: Is a directory`)
    if (isLast && !overwrite) throw alreadyExists(`${path}: already exists (disallow_overwrite_existing_files=True)`)
  }
}

async function makeParents (root: string, names: string[]): Promise<void> {
  for (let length = 1; length < names.length; length++) {
    const directory = join(root, ...names.slice(0, length))
    await mkdir(directory).then(() => chmod(directory, 0o755), (error) => { if (error.code !== 'EEXIST') throw error })
  }
}

/** Two files of one request may be in each other's way. */
function placeError (path: string, error: NodeJS.ErrnoException): Error {
  return /^(ERR_FS_|ENOTDIR$|EISDIR$|ENOTEMPTY$|EEXIST$)/.test(error.code ?? '') ? failedPrecondition(`${path}: ${error.message}`, error) : error
}
