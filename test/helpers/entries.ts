import type { Remote } from '../../services/sync/remote.js'
import type { SavedEntry } from '../../services/sync/transfer/entries.js'
import type { Entry } from '../../services/sync/workspace/workspace.js'

/** What a sync knows of an entry that it has stored. */
export const saved = (more: Partial<SavedEntry> = {}): SavedEntry => ({
  type: 'file', mode: 0o644, size: 3, mtime: '1000.5', etag: 'e', hashes: [], partSize: 0, own: true, ...more
})

export const entry = (path: string, more: Partial<Entry> = {}): Entry => ({
  path, type: 'file', mode: 0o644, size: 3, mtime: '1000.500000000', ctime: '1000.5', uid: 0, gid: 0, ...more
})
export const entries = (...list: Entry[]) => new Map(list.map((one) => [one.path, one]))
export const remoteOf = (more: Partial<Remote> = {}): Remote => ({
  tracked: new Map(),
  untracked: new Map(),
  missing: new Map(),
  superseded: new Map(),
  storedAt: new Map(),
  packs: new Map(),
  obsoletePacks: [],
  manifest: 'whole',
  recorded: new Map(),
  session: undefined,
  sessions: new Map(),
  unusable: new Map(),
  warnings: [],
  ...more
})
export const untracked = (key: string) => ({ key, size: 3, etag: 'f', storedAt: 2_000_000 })
