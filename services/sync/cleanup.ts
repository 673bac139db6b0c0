import { type Superseded } from './manifest.js'
import type { Remote } from './remote.js'
import type { SyncStats } from './report.js'
import { S3Error } from './s3/errors.js'
import type { ObjectStore } from './s3/object-store.js'
import { keyOf, type SavedEntry } from './transfer/entries.js'

const day = 24 * 60 * 60 * 1000

/** Deletes entries' own objects; what saves keep stays. @returns what could not be deleted; the tally has it, too. */
export async function deleteObjects (
  store: ObjectStore, entries: ReadonlyMap<string, SavedEntry>, tally: SyncStats
): Promise<Map<string, SavedEntry>> {
  const objects = [...entries].filter(([, { etag, key }]) => etag !== '' && key === undefined)
  const paths = new Map(objects.map(([path, saved]) => [keyOf(path, saved), path]))
  const left = new Map<string, SavedEntry>()
  for (const { key, code } of await store.delete([...paths.keys()])) {
    const path = paths.get(key)!
    tally.fail({ path, code, message: 'S3 refused to delete it.' })
    left.set(path, entries.get(path)!)
  }
  return left
}

/** Packs that nothing refers to any more; one that can't be deleted now is when a later sync finds it. */
export async function deletePacks (store: ObjectStore, keys: string[]) {
  await store.delete(keys).catch((error: unknown) => {
    if (!(error instanceof S3Error)) throw error
  })
}

/** What is no use any more, with the objects at the own keys of paths that a save now has elsewhere, or leaves out. */
export function supersede (paths: string[], remote: Remote, tally: SyncStats): Map<string, Superseded> {
  const retired = new Map(remote.superseded)
  for (const path of paths) {
    if (tally.hasFailed(path)) continue
    const [foreign, saved, storedAt] = [remote.untracked.get(path), remote.tracked.get(path), remote.storedAt.get(path)]
    if (foreign !== undefined) retired.set(foreign.key, { etag: foreign.etag, storedAt: foreign.storedAt })
    if (storedAt !== undefined) retired.set(keyOf(path, saved!), { etag: saved!.etag, storedAt })
  }
  return retired
}

/**
 * Ends uploads that nobody will complete: those of files of this workspace (only one sync of it runs at a time), and
 * any that were begun more than a day ago.
 */
export async function abortLeftovers (store: ObjectStore, paths: Set<string>) {
  for (const pending of await store.pendingUploads()) {
    const path = pending.key.replace(/^\.modal-sandbox\/saves\/[^/]+\//, '')
    if (paths.has(path) || Date.now() - pending.initiated.getTime() > day) await store.abort(pending)
  }
}
