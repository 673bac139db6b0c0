import type { Superseded } from './manifest.js'
import type { Remote } from './remote.js'
import type { SyncStats } from './report.js'
import { S3Error } from './s3/errors.js'
import type { ObjectStore } from './s3/object-store.js'
import { keyOf, type SavedEntry } from './transfer/entries.js'

const dayMs = 24 * 60 * 60 * 1000

/** Deletes the objects of entries, but none of a version. @returns what could not be deleted. */
export async function deleteObjects (
  store: ObjectStore, entries: ReadonlyMap<string, SavedEntry>, stats: SyncStats
): Promise<Map<string, SavedEntry>> {
  const objects = [...entries].filter(([, { etag, key }]) => etag !== '' && key === undefined)
  const paths = new Map(objects.map(([path, saved]) => [keyOf(path, saved), path]))
  const left = new Map<string, SavedEntry>()
  for (const { key, code } of await store.delete([...paths.keys()])) {
    const path = paths.get(key)!
    stats.fail({ path, code, message: 'S3 refused to delete it.' })
    left.set(path, entries.get(path)!)
  }
  return left
}

/** Deletes objects of the sync that nothing needs any more; a later sync finds those that cannot be deleted now. */
export async function deleteUnused (store: ObjectStore, keys: string[]) {
  await store.delete(keys).catch((error: unknown) => {
    if (!(error instanceof S3Error)) throw error
  })
}

/** What was superseded before, and the objects at paths that this version has elsewhere, or leaves out. */
export function supersede (paths: string[], remote: Remote, stats: SyncStats): Map<string, Superseded> {
  const superseded = new Map(remote.superseded)
  for (const path of paths) {
    if (stats.hasFailed(path)) continue
    const untracked = remote.untracked.get(path)
    const storedAt = remote.storedAt.get(path)
    if (untracked !== undefined) {
      superseded.set(untracked.key, { etag: untracked.etag, storedAt: untracked.storedAt })
    }
    if (storedAt !== undefined) {
      const saved = remote.tracked.get(path)!
      superseded.set(keyOf(path, saved), { etag: saved.etag, storedAt })
    }
  }
  return superseded
}

/**
 * Aborts multipart uploads that nobody will complete: those of files of this workspace, as only one sync of it runs at
 * a time, unless others use the prefix; and any that were started more than a day ago.
 */
export async function abortLeftovers (store: ObjectStore, paths: Set<string>, isShared: boolean) {
  for (const pending of await store.pendingUploads()) {
    const path = pending.key.replace(/^\.modal-sandbox\/saves\/[^/]+\//, '')
    if ((paths.has(path) && !isShared) || Date.now() - pending.initiated.getTime() > dayMs) await store.abort(pending)
  }
}
