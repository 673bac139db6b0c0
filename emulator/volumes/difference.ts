import { basename, dirname } from 'node:path'
import { attempt } from '../lib/attempt.js'
import { DirectoryHandle } from './directory-handle.js'
import { childPath } from './entries.js'
import { yieldToEventLoop } from './yield-to-event-loop.js'

/** How a layer differs from what was last applied from it. */
export interface Difference {
  /** Signatures of everything in the layer, by path. */
  signatures: Map<string, string>
  /** Paths that changed, and the directories above them. */
  changed: Set<string>
  /** Names that were written here and have been removed since, by the path of their directory. */
  removed: Map<string, string[]>
}

/** Stands in for a signature: overlayfs marks a deleted name with a character device. */
export const whiteout = 'whiteout'

/**
 * Scans a layer once. Writes made while a commit builds the next state are copied with it; later ones change the
 * signature, however coarse the file system's clock.
 * @param applied signatures at the last commit, by path
 */
export async function difference (layer: string, applied: Map<string, string>): Promise<Difference> {
  const found: Difference = { signatures: new Map(), changed: new Set(), removed: new Map() }
  const root = attempt(() => DirectoryHandle.open(layer))
  if (root !== undefined) await scan('', root, applied, found)
  for (const [path, before] of applied) {
    await yieldToEventLoop()
    const now = found.signatures.get(path)
    if (now === undefined) markChanged(path, found)
    if (before !== whiteout && (now ?? whiteout) === whiteout) addRemoved(path, found)
  }
  return found
}

/** Closes `directory`. */
async function scan (path: string, directory: DirectoryHandle, applied: Map<string, string>, found: Difference) {
  try {
    for (const { name } of await directory.entries()) {
      await yieldToEventLoop()
      const stats = attempt(() => directory.stats(name))
      if (stats === undefined) continue
      const child = childPath(path, name)
      const { ino, size, ctimeMs, mode } = stats
      const signature = stats.isCharacterDevice() ? whiteout : `${ino}:${size}:${ctimeMs}:${mode}`
      found.signatures.set(child, signature)
      if (signature !== applied.get(child)) markChanged(child, found)
      const inner = stats.isDirectory() ? attempt(() => directory.openDirectory(name)) : undefined
      if (inner !== undefined) await scan(child, inner, applied, found)
    }
  } finally {
    directory.close()
  }
}

function markChanged (path: string, { changed }: Difference) {
  for (let at = path; at !== '.' && !changed.has(at); at = dirname(at)) changed.add(at)
}

function addRemoved (path: string, { removed }: Difference) {
  const parent = path.includes('/') ? dirname(path) : ''
  const names = removed.get(parent)
  if (names === undefined) removed.set(parent, [basename(path)])
  else names.push(basename(path))
}
