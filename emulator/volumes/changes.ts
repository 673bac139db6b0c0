import { lstat, readdir, rm, rmdir } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { copyEntry, isDirectory, makeDirectory } from './entries.js'
import { HeldDirectory } from './held-directory.js'

export interface Places {
  /** The committed state below the view. */
  base: string
  /** The view itself; undefined when its container is gone. */
  merged: string | undefined
  /** The next committed state, to be changed. */
  target: string
}

/** One directory in the places: what does not have it is undefined. */
interface Level {
  path: string
  upper: HeldDirectory
  merged: HeldDirectory | undefined
  base: string | undefined
  target: string
}

/** One commit: signatures as they are now, what differs from the last one, and what was written here and is gone. */
interface Walk {
  now: Map<string, string>
  changed: Set<string>
  /** Names by the path of their directory. */
  gone: Map<string, string[]>
  failures: string[]
}

/** In place of a signature: overlayfs marks a deleted name with a character device. */
const whiteout = 'whiteout'
/** The container changed its tree under the walk: the next commit finds what it has become. */
const vanished = new Set(['ENOENT', 'ENOTDIR', 'ELOOP'])

/** What a view's own layer holds: which of it was not committed yet, and how to apply it. */
export class Changes {
  readonly #upper: string
  /** Signatures of what was applied before, by path. */
  #applied = new Map<string, string>()
  /** Paths of the base that are dealt with: what others put there later is theirs. */
  readonly #replaced = new Set<string>()

  constructor (upper: string) {
    this.#upper = upper
  }

  async any (): Promise<boolean> {
    return this.#changed(await this.#signatures()).size > 0
  }

  /**
   * Applies the layer to `target`, entry by entry. A name that the view has had and has no more is deleted, so
   * opaque directories need not be understood.
   * @returns paths that could not be copied, with the reason; the next commit tries them again
   */
  async apply ({ base, merged, target }: Places): Promise<string[]> {
    const now = await this.#signatures()
    const upper = await HeldDirectory.open(this.#upper)
    const view = merged === undefined ? undefined : await openView(merged, upper)
    const walk: Walk = { now, changed: this.#changed(now), gone: this.#gone(now), failures: [] }
    try {
      await this.#applyDirectory({ path: '', upper, merged: view, base, target }, walk)
    } finally {
      await Promise.all([upper.close(), view?.close()])
    }
    this.#applied = now
    return walk.failures
  }

  async #applyDirectory (level: Level, walk: Walk) {
    const { now, changed, failures } = walk
    await this.#delete(level, walk)
    for (const entry of await level.upper.entries()) {
      const path = join(level.path, entry.name)
      if (!changed.has(path)) continue
      try {
        if (entry.isDirectory()) {
          await this.#enter(level, entry.name, path, walk)
        } else if (entry.isFile() || entry.isSymbolicLink()) {
          await copyEntry(level.upper, entry.name, join(level.target, entry.name))
          this.#replaced.add(path)
        }
      } catch (error) {
        const { code, message } = error as NodeJS.ErrnoException
        if (!vanished.has(code ?? '')) failures.push(`${path}: ${code ?? message}`)
        const before = this.#applied.get(path)
        if (before === undefined) now.delete(path)
        else now.set(path, before)
      }
    }
  }

  async #enter (level: Level, name: string, path: string, walk: Walk) {
    const target = join(level.target, name)
    const below = level.base === undefined || this.#replaced.has(path) ? undefined : join(level.base, name)
    if (walk.now.get(path) !== this.#applied.get(path) || !await isDirectory(target)) {
      await makeDirectory(target, await level.upper.stats(name))
    }
    const upper = await level.upper.directory(name)
    const merged = await level.merged?.directory(name).catch(() => undefined)
    const base = below !== undefined && await isDirectory(below) ? below : undefined
    try {
      await this.#applyDirectory({ path, upper, merged, base, target }, walk)
    } finally {
      await Promise.all([upper.close(), merged?.close()])
    }
  }

  async #delete ({ path, merged, base, target }: Level, { now, gone }: Walk) {
    const present = merged && new Set((await merged.entries()).map(({ name }) => name))
    for (const name of base === undefined ? [] : await readdir(base)) {
      const child = join(path, name)
      const isGone = present ? !present.has(name) : now.get(child) === whiteout
      if (this.#replaced.has(child) || !isGone) continue
      this.#replaced.add(child)
      await this.#remove(child, join(base!, name), join(target, name))
    }
    // What came and went in between: the base does not have it.
    for (const name of gone.get(path) ?? []) {
      if (!present?.has(name)) await this.#remove(join(path, name), undefined, join(target, name))
    }
  }

  /** Removes what this view knows; files of others that it has never seen stay, and their directories with them. */
  async #remove (path: string, base: string | undefined, target: string) {
    if (!await isDirectory(target)) return await rm(target, { force: true })
    for (const name of await readdir(target)) {
      const [child, below] = [join(path, name), base && join(base, name)]
      const inBase = below !== undefined && await lstat(below).then(() => true, () => false)
      if (inBase || this.#applied.has(child)) await this.#remove(child, below, join(target, name))
    }
    await rmdir(target).catch(() => {})
  }

  /** Paths that are not as they were at the last commit, and the directories that lead to them. */
  #changed (now: Map<string, string>): Set<string> {
    const changed = new Set<string>()
    for (const path of new Set([...now.keys(), ...this.#applied.keys()])) {
      if (now.get(path) === this.#applied.get(path)) continue
      for (let at = path; at !== '.' && !changed.has(at); at = dirname(at)) changed.add(at)
    }
    return changed
  }

  #gone (now: Map<string, string>): Map<string, string[]> {
    const gone = new Map<string, string[]>()
    for (const [path, signature] of this.#applied) {
      if (signature === whiteout || (now.get(path) ?? whiteout) !== whiteout) continue
      const parent = path.includes('/') ? dirname(path) : ''
      gone.set(parent, [...gone.get(parent) ?? [], basename(path)])
    }
    return gone
  }

  async #signatures (): Promise<Map<string, string>> {
    const found = new Map<string, string>()
    const look = async (path: string, directory: HeldDirectory) => {
      for (const { name } of await directory.entries()) {
        const child = join(path, name)
        const stats = await directory.stats(name).catch(() => undefined)
        if (stats === undefined) continue
        const { ino, size, ctimeMs, mode } = stats
        found.set(child, stats.isCharacterDevice() ? whiteout : `${ino}:${size}:${ctimeMs}:${mode}`)
        if (!stats.isDirectory()) continue
        const below = await directory.directory(name).catch(() => undefined)
        await (below && look(child, below).finally(() => below.close()))
      }
    }
    const upper = await HeldDirectory.open(this.#upper).catch(() => undefined)
    await (upper && look('', upper).finally(() => upper.close()))
    return found
  }
}

/** The view, if it is still mounted: in the empty directory below, everything would look deleted. */
async function openView (path: string, upper: HeldDirectory): Promise<HeldDirectory | undefined> {
  const view = await HeldDirectory.open(path).catch(() => undefined)
  if (view === undefined || await view.device() !== await upper.device()) return view
  await view.close()
}
