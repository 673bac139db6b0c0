import type { Entry, EntryType } from './workspace/workspace.js'

/** What a sync knows about an entry that it has stored or restored. */
export interface SavedEntry {
  type: EntryType
  mode: number
  size: number
  /** Of the entry in the workspace, as its userland told it. */
  mtime: string
  /** Of its object; empty for a directory that needs none. */
  etag: string
  /** SHA-256 of the object's parts; one for a small file, none when unknown. */
  hashes: string[]
  /** Bytes of each part but the last; 0 when it has one. */
  partSize: number
  /** Whether this service put the object there. Only such ones may ever be deleted. */
  own: boolean
  /** Where the object is, when not at the entry's own path: in a save of a versioned workspace. */
  key?: string
  /** Where the content of a small file is besides. */
  packed?: PackLocation
}

/** A place in a pack, which is named by its hash. It may be gone or hold something else: only a hash proves it. */
export interface PackLocation { pack: string, start: number }

/** An object as it was seen, and no other one that may take its place. */
export interface Superseded { etag: string, storedAt: number }

export interface Manifest {
  savedAt: string
  entries: ReadonlyMap<string, SavedEntry>
  /** By key: objects that the workspace has no more, and that stay because earlier saves may need them. */
  superseded: ReadonlyMap<string, Superseded>
}

const never = new Date(0).toISOString()

export function emptyManifest (): Manifest {
  return { savedAt: never, entries: new Map(), superseded: new Map() }
}

/** Whether it was written at all, and could be read. */
export function isFound ({ savedAt }: Manifest): boolean {
  return savedAt !== never
}

/** The key of an entry's object, below the prefix. */
export function keyOf (path: string, { type, key }: Pick<SavedEntry, 'type' | 'key'>): string {
  return key ?? (type === 'directory' ? `${path}/` : path)
}

/** Files and symlinks. */
export function countFiles (entries: Map<string, SavedEntry>): number {
  let count = 0
  for (const { type } of entries.values()) if (type !== 'directory') count++
  return count
}

/**
 * Whether two times are the same as far as both are told: busybox' userland knows whole seconds only, and Node sets
 * them as floating point numbers and cuts those to microseconds.
 */
export function sameTime (one: string, other: string): boolean {
  if (one === other) return true
  const [[seconds, fraction = ''], [otherSeconds, otherFraction = '']] = [one.split('.'), other.split('.')]
  if (seconds !== otherSeconds) return false
  if (fraction === '' || otherFraction === '') return true
  return Math.abs(Number(fraction.padEnd(9, '0')) - Number(otherFraction.padEnd(9, '0'))) < 2000
}

/** Whether an entry is as it was when it was stored. */
export function isSame (entry: Entry, saved: SavedEntry): boolean {
  if (entry.type !== saved.type || entry.mode !== saved.mode) return entry.type === 'symlink' && isSameLink(entry, saved)
  return entry.type === 'directory' || (entry.size === saved.size && sameTime(entry.mtime, saved.mtime))
}

/** Linux has no modes of symlinks: whatever a tool says they are does not matter. */
function isSameLink (entry: Entry, saved: SavedEntry): boolean {
  return saved.type === 'symlink' && entry.size === saved.size && sameTime(entry.mtime, saved.mtime)
}
