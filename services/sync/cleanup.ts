import type { Saved } from './manifest.js'
import type { ObjectStore } from './object-store.js'
import { keyOf } from './remote.js'
import type { Tally } from './report.js'

const day = 24 * 60 * 60 * 1000

/** Older saves still need the objects of a versioned workspace: there a file is only left out of the next save. */
export async function deleteStale (
  store: ObjectStore, stale: Map<string, Saved>, entries: Map<string, Saved>, tally: Tally, versioned: boolean
) {
  const own = [...stale].filter(([, saved]) => saved.own)
  const keys = new Map(own.filter(([, { etag }]) => etag !== '').map(([path, saved]) => [keyOf(path, saved), path]))
  const failed = versioned ? [] : await store.delete([...keys.keys()])
  for (const { key, code } of failed) tally.fail({ path: keys.get(key) ?? key, code, message: 'S3 refused to delete it.' })
  for (const [path, saved] of own) {
    if (tally.hasFailed(path)) continue
    entries.delete(path)
    if (saved.type !== 'directory') tally.deleted++
  }
}

/** What could not be deleted stays known, so that the next upload sees it again. */
export async function deleteReplaced (
  store: ObjectStore, replaced: Map<string, Saved>, entries: Map<string, Saved>, tally: Tally
) {
  const due = [...replaced].filter(([path]) => !tally.hasFailed(path))
  const keys = new Map(due.map(([path, saved]) => [keyOf(path, saved), path]))
  for (const { key, code } of await store.delete([...keys.keys()])) {
    const path = keys.get(key)!
    tally.fail({ path, code, message: 'S3 refused to delete what it replaces.' })
    entries.set(path, replaced.get(path)!)
  }
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
