import { S3Fault } from './faults.js'
import { packKey } from './keys.js'
import { keyOf, type Retired, type Saved } from './manifest.js'
import type { ObjectStore } from './object-store.js'
import type { Remote } from './remote.js'
import type { Tally } from './report.js'

const day = 24 * 60 * 60 * 1000

/** Deletes entries' own objects; what saves keep stays. @returns what could not be deleted; the tally has it, too. */
export async function deleteObjects (
  store: ObjectStore, entries: ReadonlyMap<string, Saved>, tally: Tally
): Promise<Map<string, Saved>> {
  const objects = [...entries].filter(([, { etag, key }]) => etag !== '' && key === undefined)
  const paths = new Map(objects.map(([path, saved]) => [keyOf(path, saved), path]))
  const left = new Map<string, Saved>()
  for (const { key, code } of await store.delete([...paths.keys()])) {
    const path = paths.get(key)!
    tally.fail({ path, code, message: 'S3 refused to delete it.' })
    left.set(path, entries.get(path)!)
  }
  return left
}

/** Packs that nothing refers to any more; one that can't be deleted now is when a later sync finds it. */
export async function deletePacks (store: ObjectStore, packs: string[]) {
  await store.delete(packs.map(packKey)).catch((error: unknown) => {
    if (!(error instanceof S3Fault)) throw error
  })
}

/** What is no use any more, with the objects at the own keys of paths that a save now has elsewhere, or leaves out. */
export function retire (paths: string[], remote: Remote, tally: Tally): Map<string, Retired> {
  const retired = new Map(remote.retired)
  for (const path of paths) {
    if (tally.hasFailed(path)) continue
    const [foreign, saved, storedAt] = [remote.foreign.get(path), remote.known.get(path), remote.storedAt.get(path)]
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
