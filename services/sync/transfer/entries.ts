import type { EntryType } from '../workspace/workspace.js'

/** What a sync knows about an entry that it has stored or restored. */
export interface SavedEntry {
  type: EntryType
  mode: number
  size: number
  /** Of the entry in the workspace, as its userland reported it. */
  mtime: string
  /** Of its object; empty for a directory that needs none. */
  etag: string
  /** SHA-256 of the object's parts; one for a small file, none when unknown. */
  hashes: string[]
  /** Bytes of each part but the last; 0 when there is only one. */
  partSize: number
  /** Whether this service has put the object there. Only such objects may ever be deleted. */
  own: boolean
  /** Where the object is, when not at the entry's own path: in a save of a versioned workspace. */
  key?: string
  /** Where else the content of a small file is. */
  packed?: PackLocation
}

/** A place in a pack, which is named by its hash. It may be gone or hold something else: only a hash proves it. */
export interface PackLocation { pack: string, start: number }

/** An object that is to be restored. */
export interface Target {
  path: string
  key: string
  etag: string
  size: number
  storedAt?: number
  /** What a manifest says of it; without that the object's metadata say what it is. */
  saved?: SavedEntry
}

/** A target whose content is in a pack, too. */
export type PackedTarget = Target & { saved: SavedEntry & { packed: PackLocation } }

/** A pack that is to be fetched, and what is wanted of it. */
export interface PackTarget { key: string, size: number, targets: PackedTarget[] }

/** The key of an entry's object, below the prefix. */
export function keyOf (path: string, { type, key }: Pick<SavedEntry, 'type' | 'key'>): string {
  return key ?? (type === 'directory' ? `${path}/` : path)
}
