import { mapOrdered } from '../../lib/concurrency.js'
import { sameTime } from './manifest.js'
import type { UploadPlan } from './plan-upload.js'
import type { Remote } from './remote.js'
import type { SyncStats } from './report.js'
import { maxCopyBytes } from './s3/attributes.js'
import { S3Error } from './s3/errors.js'
import { toMetadata } from './s3/metadata.js'
import type { ObjectStore } from './s3/object-store.js'
import { keyOf, type SavedEntry } from './transfer/entries.js'
import type { Entry } from './workspace/workspace.js'

/** As many as the SDK's client has connections. */
const copiesInFlight = 8

/**
 * Stores the modes of what others have put there and of which nothing else has changed: the objects stay theirs, with
 * their headers and their own metadata. @returns what is to be uploaded.
 */
export async function storeForeignModes (
  { uploads: entries, theirs: others }: UploadPlan, { tracked }: Remote, store: ObjectStore, stats: SyncStats,
  onStored: (path: string, saved: SavedEntry) => void
): Promise<Entry[]> {
  const isKnown = ({ path }: Entry) => !others.has(path)
  const theirs = entries.filter((entry) => isKnown(entry) && isOnlyMode(entry, tracked.get(entry.path)))
  if (theirs.length === 0) return entries
  const done = new Set<Entry>()
  const storeMode = async (entry: Entry) => {
    const saved = tracked.get(entry.path)!
    try {
      const etag = await store.addMetadata(keyOf(entry.path, entry), saved.etag, toMetadata(entry))
      onStored(entry.path, { ...saved, etag, mode: entry.mode, mtime: entry.mtime })
    } catch (error) {
      // Some servers cannot copy, and the object may have been replaced: the upload tells.
      if (error instanceof S3Error) return
      throw error
    }
    stats.copied(entry.path, entry.type, 0)
    return entry
  }
  for await (const entry of mapOrdered(theirs, () => 0, storeMode, copiesInFlight, Infinity)) {
    if (entry !== undefined) done.add(entry)
  }
  return entries.filter((entry) => !done.has(entry))
}

function isOnlyMode (entry: Entry, saved: SavedEntry | undefined): boolean {
  if (saved === undefined) return false
  const isTheirs = !saved.own && saved.key === undefined && saved.size <= maxCopyBytes
  if (!isTheirs || entry.type !== saved.type) return false
  if (entry.type === 'directory') return saved.etag !== ''
  return entry.type === 'file' && entry.size === saved.size && sameTime(entry.mtime, saved.mtime)
}
