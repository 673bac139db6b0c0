import { rmdirSync, unlinkSync } from 'node:fs'
import { dirname } from 'node:path'
import { breathe } from './yield-to-event-loop.js'
import { difference, whiteout, type Difference } from './difference.js'
import { below, copyEntry, isDirectory, makeDirectory, statsOf, tried } from './entries.js'
import { HeldDirectory, listDirectory } from './directory-handle.js'

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

/** One commit. */
interface Walk extends Difference {
  /** Paths that were applied. */
  done: Set<string>
  failures: string[]
}

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

  /** @returns undefined when everything is committed. */
  async find (): Promise<Difference | undefined> {
    const found = await difference(this.#upper, this.#applied)
    return found.changed.size > 0 ? found : undefined
  }

  /**
   * Applies what was found to `target`, entry by entry. A name that the view has had and has no more is deleted, so
   * opaque directories need not be understood.
   * @returns paths that could not be copied, with the reason; the next commit tries them again
   */
  async apply (found: Difference, { base, merged, target }: Places): Promise<string[]> {
    const upper = HeldDirectory.open(this.#upper)
    const view = merged === undefined ? undefined : openView(merged, upper)
    const walk: Walk = { ...found, done: new Set(), failures: [] }
    try {
      await this.#applyDirectory({ path: '', upper, merged: view, base, target }, walk)
    } finally {
      upper.close()
      view?.close()
    }
    await this.#remember(walk)
    return walk.failures
  }

  async #applyDirectory (level: Level, walk: Walk) {
    await this.#delete(level, walk)
    for (const entry of await level.upper.entries()) {
      await breathe()
      const path = below(level.path, entry.name)
      if (!walk.changed.has(path)) continue
      try {
        if (entry.isDirectory()) {
          await this.#enter(level, entry.name, path, walk)
        } else if (entry.isFile() || entry.isSymbolicLink()) {
          await copyEntry(level.upper, entry, below(level.target, entry.name))
          this.#replaced.add(path)
        }
        walk.done.add(path)
      } catch (error) {
        const { code, message } = error as NodeJS.ErrnoException
        if (!vanished.has(code ?? '')) walk.failures.push(`${path}: ${code ?? message}`)
      }
    }
  }

  async #enter (level: Level, name: string, path: string, walk: Walk) {
    const target = below(level.target, name)
    const base = level.base === undefined || this.#replaced.has(path) ? undefined : below(level.base, name)
    if (walk.now.get(path) !== this.#applied.get(path) || !isDirectory(target)) {
      makeDirectory(target, level.upper.stats(name))
    }
    const upper = level.upper.directory(name)
    const merged = tried(() => level.merged?.directory(name))
    try {
      const inBase = base !== undefined && isDirectory(base)
      await this.#applyDirectory({ path, upper, merged, base: inBase ? base : undefined, target }, walk)
    } finally {
      upper.close()
      merged?.close()
    }
  }

  async #delete ({ path, merged, base, target }: Level, { now, gone }: Walk) {
    const present = merged && new Set((await merged.entries()).map(({ name }) => name))
    for (const { name } of base === undefined ? [] : await listDirectory(base)) {
      await breathe()
      const child = below(path, name)
      const isGone = present ? !present.has(name) : now.get(child) === whiteout
      if (this.#replaced.has(child) || !isGone) continue
      this.#replaced.add(child)
      await this.#remove(child, below(base!, name), below(target, name))
    }
    // What came and went in between: the base does not have it.
    for (const name of gone.get(path) ?? []) {
      if (!present?.has(name)) await this.#remove(below(path, name), undefined, below(target, name))
    }
  }

  /** Removes what this view knows; files of others that it has never seen stay, and their directories with them. */
  async #remove (path: string, base: string | undefined, target: string) {
    await breathe()
    const there = statsOf(target)
    if (there === undefined) return
    if (!there.isDirectory()) return unlinkSync(target)
    for (const { name } of await listDirectory(target)) {
      const [child, inBase] = [below(path, name), base && below(base, name)]
      const known = inBase !== undefined && statsOf(inBase) !== undefined
      if (known || this.#applied.has(child)) await this.#remove(child, inBase, below(target, name))
    }
    tried(() => { rmdirSync(target) })
  }

  /** What the walk did not come to, because the container moved it or it failed, counts as it did before. */
  async #remember ({ now, changed, done }: Walk) {
    const applied = new Map<string, string>()
    for (const [path, signature] of now) {
      await breathe()
      const known = !changed.has(path) || done.has(path) ? signature : this.#applied.get(path)
      if (known !== undefined) applied.set(path, known)
    }
    for (const [path, signature] of this.#applied) {
      await breathe()
      if (now.has(path)) continue
      // It was deleted with what is left of the way to it.
      let at = dirname(path)
      while (at !== '.' && !now.has(at)) at = dirname(at)
      if (at !== '.' && !done.has(at)) applied.set(path, signature)
    }
    this.#applied = applied
  }
}

/** The view, if it is still mounted: in the empty directory below, everything would look deleted. */
function openView (path: string, upper: HeldDirectory): HeldDirectory | undefined {
  const view = tried(() => HeldDirectory.open(path))
  if (view === undefined || view.device() !== upper.device()) return view
  view.close()
}
