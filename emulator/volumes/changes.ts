import { constants, type Stats } from 'node:fs'
import { chmod, copyFile, lchown, lstat, lutimes, mkdir, readdir, readlink, rm, symlink, utimes } from 'node:fs/promises'
import { join } from 'node:path'

export interface Places {
  /** The committed state below the view. */
  base: string
  /** The view itself; undefined when its container is gone. */
  merged: string | undefined
  /** The next committed state, to be changed. */
  target: string
}

/** What a view's own layer holds: which of it was not committed yet, and how to apply it. */
export class Changes {
  readonly #upper: string
  /** Signatures of what was applied before, by path. */
  #applied = new Map<string, string>()

  constructor (upper: string) {
    this.#upper = upper
  }

  async any (): Promise<boolean> {
    const now = await this.#signatures('')
    if (now.size !== this.#applied.size) return true
    return [...now].some(([path, signature]) => this.#applied.get(path) !== signature)
  }

  /**
   * Applies the layer to `target`, entry by entry. A name that the committed state had and the view has not is
   * deleted, so neither whiteouts nor opaque directories need to be understood.
   */
  async apply (places: Places): Promise<void> {
    const now = await this.#signatures('')
    await this.#applyDirectory('', places, now)
    this.#applied = now
  }

  async #applyDirectory (path: string, places: Places, now: Map<string, string>) {
    const entries = await readdir(join(this.#upper, path), { withFileTypes: true })
    const whiteouts = entries.filter((entry) => entry.isCharacterDevice()).map(({ name }) => name)
    for (const name of await this.#deleted(path, places, whiteouts)) {
      await rm(join(places.target, path, name), { recursive: true, force: true })
    }
    for (const entry of entries) {
      const child = join(path, entry.name)
      const changed = this.#applied.get(child) !== now.get(child)
      if (entry.isDirectory()) {
        if (changed) await makeDirectory(join(this.#upper, child), join(places.target, child))
        await this.#applyDirectory(child, places, now)
      } else if (changed && (entry.isFile() || entry.isSymbolicLink())) {
        await copyEntry(join(this.#upper, child), join(places.target, child))
      }
    }
  }

  async #deleted (path: string, { base, merged }: Places, whiteouts: string[]): Promise<string[]> {
    if (merged === undefined) return whiteouts
    const seen = await readdir(join(merged, path)).catch(() => undefined)
    if (seen === undefined) return whiteouts
    const present = new Set(seen)
    const before = await readdir(join(base, path)).catch(() => [])
    return [...new Set([...before, ...whiteouts])].filter((name) => !present.has(name))
  }

  async #signatures (path: string, found = new Map<string, string>()): Promise<Map<string, string>> {
    for (const entry of await readdir(join(this.#upper, path), { withFileTypes: true }).catch(() => [])) {
      const child = join(path, entry.name)
      const stats = await lstat(join(this.#upper, child)).catch(() => undefined)
      if (stats === undefined) continue
      found.set(child, `${stats.ino}:${stats.size}:${stats.ctimeMs}:${stats.mode}`)
      if (entry.isDirectory()) await this.#signatures(child, found)
    }
    return found
  }
}

/** Never writes into an existing file: it may be shared, by hard link, with states that must not change. */
async function copyEntry (source: string, target: string) {
  const stats = await lstat(source)
  await rm(target, { recursive: true, force: true })
  if (stats.isSymbolicLink()) await symlink(await readlink(source), target)
  else await copyFile(source, target, constants.COPYFILE_FICLONE)
  await keepAttributes(target, stats)
}

async function makeDirectory (source: string, target: string) {
  const stats = await lstat(source)
  const present = await lstat(target).catch(() => undefined)
  if (present !== undefined && !present.isDirectory()) await rm(target)
  await mkdir(target, { recursive: true })
  await keepAttributes(target, stats)
}

async function keepAttributes (path: string, stats: Stats) {
  await lchown(path, stats.uid, stats.gid)
  if (stats.isSymbolicLink()) {
    await lutimes(path, stats.atime, stats.mtime)
  } else {
    await chmod(path, stats.mode & 0o7777)
    await utimes(path, stats.atime, stats.mtime)
  }
}
