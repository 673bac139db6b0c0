import { rmdirSync, unlinkSync } from 'node:fs'
import { dirname } from 'node:path'
import { attempt } from '../lib/attempt.js'
import { difference, whiteout, type Difference } from './difference.js'
import { DirectoryHandle, listDirectory } from './directory-handle.js'
import { childPath, copyEntry, isDirectory, makeDirectory, statsOf, type Destination } from './entries.js'
import { yieldToEventLoop } from './yield-to-event-loop.js'

interface Trees {
  /** The committed state below the view. */
  base: string
  /** The view as the container sees it; undefined once the container is gone. */
  merged: string | undefined
  /** The next committed state, which is modified. */
  target: string
  /** As in {@link Destination}. */
  scratch: string
  link: boolean
  plain: boolean
}

/** One directory in each of the trees; undefined where a tree lacks it. */
interface Level {
  path: string
  upper: DirectoryHandle
  merged: DirectoryHandle | undefined
  base: string | undefined
  target: string
}

/** The progress of one commit. */
interface Walk extends Difference, Pick<Trees, 'scratch' | 'link' | 'plain'> {
  /** Paths applied so far. */
  done: Set<string>
  /** As in the last commit, with what this one has replaced. */
  replaced: Set<string>
  failures: string[]
}

/** The container changed its tree during the walk: the next commit picks up the result. */
const vanishedCodes = new Set(['ENOENT', 'ENOTDIR', 'ELOOP'])

/** The writes in a view's own layer: finds those that are not committed yet, and applies them. */
export class Changes {
  readonly #upper: string
  /** Signatures of everything applied so far, by path. */
  #applied = new Map<string, string>()
  /** Paths of the base already replaced or deleted: files that others put there later are theirs. */
  #replaced = new Set<string>()

  constructor (upper: string) {
    this.#upper = upper
  }

  /** @returns undefined when there is nothing to commit */
  async find (): Promise<Difference | undefined> {
    const found = await difference(this.#upper, this.#applied)
    return found.changed.size > 0 ? found : undefined
  }

  /**
   * Applies the difference to `target`, entry by entry. A name is deleted when the base has it and the view no longer
   * does, so opaque directories need no special treatment.
   * @returns paths that could not be copied, with the reason: the next commit retries them; and what to call when the
   * target has become the committed state. Without that, the next commit applies everything again.
   */
  async apply (
    found: Difference, { base, merged, target, scratch, link, plain }: Trees
  ): Promise<{ failures: string[], accept: () => Promise<void> }> {
    const upper = DirectoryHandle.open(this.#upper)
    const view = merged === undefined ? undefined : openView(merged, upper)
    const walk: Walk = {
      ...found, scratch, link, plain, done: new Set(), replaced: new Set(this.#replaced), failures: []
    }
    try {
      await this.#applyDirectory({ path: '', upper, merged: view, base, target }, walk)
    } finally {
      upper.close()
      view?.close()
    }
    return { failures: walk.failures, accept: async () => { await this.#remember(walk) } }
  }

  async #applyDirectory (level: Level, walk: Walk) {
    await this.#delete(level, walk)
    for (const entry of await level.upper.entries()) {
      await yieldToEventLoop()
      const path = childPath(level.path, entry.name)
      if (!walk.changed.has(path)) continue
      try {
        if (entry.isDirectory()) {
          await this.#enter(level, entry.name, path, walk)
        } else if (entry.isFile() || entry.isSymbolicLink()) {
          await copyEntry(level.upper, entry, destination(level, entry.name, walk))
          walk.replaced.add(path)
        }
        walk.done.add(path)
      } catch (error) {
        const { code, message } = error as NodeJS.ErrnoException
        if (!vanishedCodes.has(code ?? '')) walk.failures.push(`${path}: ${code ?? message}`)
      }
    }
  }

  async #enter (level: Level, name: string, path: string, walk: Walk) {
    const target = childPath(level.target, name)
    const base = level.base === undefined || walk.replaced.has(path) ? undefined : childPath(level.base, name)
    if (walk.signatures.get(path) !== this.#applied.get(path) || !isDirectory(target)) {
      makeDirectory(destination(level, name, walk), level.upper.stats(name))
    }
    const upper = level.upper.openDirectory(name)
    const merged = attempt(() => level.merged?.openDirectory(name))
    try {
      const inBase = base !== undefined && isDirectory(base)
      await this.#applyDirectory({ path, upper, merged, base: inBase ? base : undefined, target }, walk)
    } finally {
      upper.close()
      merged?.close()
    }
  }

  async #delete ({ path, merged, base, target }: Level, { signatures, removed, replaced }: Walk) {
    const present = merged && new Set((await merged.entries()).map(({ name }) => name))
    for (const { name } of base === undefined ? [] : await listDirectory(base)) {
      await yieldToEventLoop()
      const child = childPath(path, name)
      const isRemoved = present ? !present.has(name) : signatures.get(child) === whiteout
      if (replaced.has(child) || !isRemoved) continue
      replaced.add(child)
      await this.#remove(child, childPath(base!, name), childPath(target, name))
    }
    // Created, committed and removed since the base was taken.
    for (const name of removed.get(path) ?? []) {
      if (!present?.has(name)) await this.#remove(childPath(path, name), undefined, childPath(target, name))
    }
  }

  /** Removes what this view has seen; files of others that it never saw stay, and so do their directories. */
  async #remove (path: string, base: string | undefined, target: string) {
    await yieldToEventLoop()
    const existing = statsOf(target)
    if (existing === undefined) return
    if (!existing.isDirectory()) return unlinkSync(target)
    for (const { name } of await listDirectory(target)) {
      const [child, inBase] = [childPath(path, name), base && childPath(base, name)]
      const known = inBase !== undefined && statsOf(inBase) !== undefined
      if (known || this.#applied.has(child)) await this.#remove(child, inBase, childPath(target, name))
    }
    attempt(() => { rmdirSync(target) })
  }

  /** Paths the walk did not reach, because they were moved or failed, keep the signature they had before. */
  async #remember ({ signatures, changed, done, replaced }: Walk) {
    this.#replaced = replaced
    const applied = new Map<string, string>()
    for (const [path, signature] of signatures) {
      await yieldToEventLoop()
      const known = !changed.has(path) || done.has(path) ? signature : this.#applied.get(path)
      if (known !== undefined) applied.set(path, known)
    }
    for (const [path, signature] of this.#applied) {
      await yieldToEventLoop()
      if (signatures.has(path)) continue
      // Deleted: forgotten once the nearest directory that is left was applied.
      let at = dirname(path)
      while (at !== '.' && !signatures.has(at)) at = dirname(at)
      if (at !== '.' && !done.has(at)) applied.set(path, signature)
    }
    this.#applied = applied
  }
}

function destination ({ target }: Level, name: string, { scratch, link, plain }: Walk): Destination {
  return { path: childPath(target, name), scratch, link, plain }
}

/** The view, if it is still mounted: in the empty mount point, everything would look deleted. */
function openView (path: string, upper: DirectoryHandle): DirectoryHandle | undefined {
  const view = attempt(() => DirectoryHandle.open(path))
  if (view === undefined || view.device() !== upper.device()) return view
  view.close()
}
