import { basename, dirname } from 'node:path'
import { breathe } from './yield-to-event-loop.js'
import { below, tried } from './entries.js'
import { HeldDirectory } from './directory-handle.js'

/** What a layer holds now, beside what was applied of it before. */
export interface Difference {
  /** Signatures by path. */
  now: Map<string, string>
  /** Paths that are not as they were, and the directories that lead to them. */
  changed: Set<string>
  /** Names that were written here and are no more, by the path of their directory. */
  gone: Map<string, string[]>
}

/** In place of a signature: overlayfs marks a deleted name with a character device. */
export const whiteout = 'whiteout'

/**
 * Looks at a layer once. What is written while a commit makes the next state is copied, too; what is written after that
 * changes the signature, however coarse the file system's clock.
 * @param applied signatures by path
 */
export async function difference (layer: string, applied: Map<string, string>): Promise<Difference> {
  const found: Difference = { now: new Map(), changed: new Set(), gone: new Map() }
  const root = tried(() => HeldDirectory.open(layer))
  if (root !== undefined) await look('', root, applied, found)
  for (const [path, before] of applied) {
    await breathe()
    const now = found.now.get(path)
    if (now === undefined) mark(path, found)
    if (before !== whiteout && (now ?? whiteout) === whiteout) addGone(path, found)
  }
  return found
}

/** Closes `directory`. */
async function look (path: string, directory: HeldDirectory, applied: Map<string, string>, found: Difference) {
  try {
    for (const { name } of await directory.entries()) {
      await breathe()
      const stats = tried(() => directory.stats(name))
      if (stats === undefined) continue
      const child = below(path, name)
      const { ino, size, ctimeMs, mode } = stats
      const signature = stats.isCharacterDevice() ? whiteout : `${ino}:${size}:${ctimeMs}:${mode}`
      found.now.set(child, signature)
      if (signature !== applied.get(child)) mark(child, found)
      const inner = stats.isDirectory() ? tried(() => directory.directory(name)) : undefined
      if (inner !== undefined) await look(child, inner, applied, found)
    }
  } finally {
    directory.close()
  }
}

function mark (path: string, { changed }: Difference) {
  for (let at = path; at !== '.' && !changed.has(at); at = dirname(at)) changed.add(at)
}

function addGone (path: string, { gone }: Difference) {
  const parent = path.includes('/') ? dirname(path) : ''
  const names = gone.get(parent)
  if (names === undefined) gone.set(parent, [basename(path)])
  else names.push(basename(path))
}
