import { createHash } from 'node:crypto'
import { createReadStream, type BigIntStats } from 'node:fs'
import { lstat, mkdir, readdir, readFile, readlink, rmdir, unlink } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { Semaphore } from '../../lib/concurrency.js'
import { badName, changed, gone, seconds, unreadable } from '../../services/sync/workspace/stat-records.js'
import {
  rereadDelays, type Entry, type LargeRead, type Listing, type Problem, type ReadEntry, type Workspace,
  type WriteEntry
} from '../../services/sync/workspace/workspace.js'
import { writeEntry } from './local-write.js'

const writesAtOnce = 8
const youngestMs = 20n
const million = 1_000_000n

/** A directory of this machine, for tests of the sync without a sandbox. */
export class LocalWorkspace implements Workspace {
  readonly #root: string

  constructor (root: string) {
    this.#root = root
  }

  async list (): Promise<Listing> {
    const listing: Listing = { entries: new Map(), problems: [], warnings: [], special: 0, missing: false }
    const visit = async (path: string) => {
      const names = await readdir(this.#at(path), { encoding: 'buffer' }).catch(() => {
        if (path === '') listing.missing = true
        else listing.problems.push({ path, code: 'UNREADABLE', message: 'The directory may not be read.' })
        return []
      })
      for (const name of names) {
        const text = name.toString()
        const child = path === '' ? text : `${path}/${text}`
        if (!Buffer.from(text).equals(name)) {
          listing.problems.push(badName(child))
          continue
        }
        const stat = await this.#stat(child)
        if (stat === undefined) continue
        const entry = toEntry(child, stat)
        if (entry === undefined) listing.special++
        else listing.entries.set(child, entry)
        if (entry?.type === 'directory') await visit(child)
      }
    }
    await visit('')
    return listing
  }

  async * readMany (entries: Entry[]): AsyncGenerator<ReadEntry | Problem> {
    for (const { path } of entries) yield await this.#read(path)
  }

  async readLarge ({ path }: Entry): Promise<LargeRead> {
    const before = await this.#stat(path)
    const entry = before?.isFile() ? toEntry(path, before) : undefined
    const size = entry?.size ?? 0
    const range = { end: size - 1, highWaterMark: 256 * 1024 }
    const stream = size === 0 ? undefined : createReadStream(this.#at(path), range)
    return {
      entry,
      chunks: stream ?? (async function * () {})(),
      confirm: async () => {
        const after = await this.#stat(path)
        return isStable(before, after) ? toEntry(path, after!) : undefined
      },
      cancel: () => { stream?.destroy() }
    }
  }

  /** Files are written side by side; anything else waits for what precedes it, and what follows waits for it. */
  async write (entries: AsyncIterable<WriteEntry>): Promise<string> {
    await mkdir(this.#root, { recursive: true })
    const complaints: string[] = []
    const semaphore = new Semaphore(writesAtOnce)
    let failure: { error: unknown } | undefined
    const write = async (entry: WriteEntry) => {
      await writeEntry(this.#at(entry.path), entry).catch((error: NodeJS.ErrnoException) => {
        // A body that ended early is the sender's failure, not the file system's.
        if (error.syscall === undefined) failure ??= { error }
        else complaints.push(`${entry.path}: ${error.code}`)
      })
    }
    let files = true
    for await (const entry of entries) {
      const isFile = entry.type === 'file'
      if (!isFile || !files) await semaphore.idle()
      files = isFile
      await semaphore.enter(0, async () => await write(entry))
      if (failure !== undefined) break
    }
    await semaphore.idle()
    if (failure !== undefined) throw failure.error
    return complaints.join('\n')
  }

  async remove (paths: string[]): Promise<void> {
    for (const path of paths) {
      const stat = await this.#stat(path)
      if (stat !== undefined) await (stat.isDirectory() ? rmdir : unlink)(this.#at(path)).catch(() => {})
    }
  }

  async hash (paths: string[]): Promise<Map<string, string>> {
    const hashes = new Map<string, string>()
    for (const path of paths) {
      const hash = createHash('sha256')
      try {
        for await (const chunk of createReadStream(this.#at(path))) hash.update(chunk as Buffer)
        hashes.set(path, hash.digest('hex'))
      } catch {
        // Missing in the answer.
      }
    }
    return hashes
  }

  async #read (path: string): Promise<ReadEntry | Problem> {
    for (const delay of [...rereadDelays, undefined]) {
      const before = await this.#stat(path)
      const entry = before && toEntry(path, before)
      if (entry === undefined) return gone(path)
      const body = await (entry.type === 'symlink' ? readlink(this.#at(path)).then(Buffer.from) : readFile(this.#at(path)))
        .catch(() => undefined)
      const after = await this.#stat(path)
      if (body === undefined && after !== undefined) return unreadable(path)
      if (body !== undefined && isStable(before, after)) return { entry, body }
      if (delay !== undefined) await sleep(delay)
    }
    return changed(path)
  }

  #at (path: string): string {
    return join(this.#root, path)
  }

  async #stat (path: string): Promise<BigIntStats | undefined> {
    return await lstat(this.#at(path), { bigint: true }).catch(() => undefined)
  }
}

function toEntry (path: string, stat: BigIntStats): Entry | undefined {
  const type = stat.isFile() ? 'file' : stat.isDirectory() ? 'directory' : stat.isSymbolicLink() ? 'symlink' : undefined
  if (type === undefined) return
  return {
    path,
    type,
    mode: Number(stat.mode) & 0o7777,
    size: type === 'directory' ? 0 : Number(stat.size),
    mtime: seconds(stat.mtimeNs),
    ctime: seconds(stat.ctimeNs),
    uid: Number(stat.uid),
    gid: Number(stat.gid)
  }
}

/** The same as `isUnchanged` of a sandbox's workspace: what changed just now may change again unnoticed. */
function isStable (before: BigIntStats | undefined, after: BigIntStats | undefined): boolean {
  if (before === undefined || after === undefined) return false
  return before.size === after.size && before.mtimeNs === after.mtimeNs && before.ctimeNs === after.ctimeNs &&
    before.mode === after.mode && BigInt(Date.now()) - before.ctimeNs / million >= youngestMs
}
