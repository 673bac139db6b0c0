import { mapOrdered } from '../../lib/concurrency.js'
import { isNews, type Base, type Session } from './base.js'
import { isCounted, isSame, sameTime } from './manifest.js'
import type { UploadPlan } from './plan-upload.js'
import type { Remote } from './remote.js'
import type { SyncStats } from './report.js'
import { maxNameBytes } from './s3/keys.js'
import { fromMetadata } from './s3/metadata.js'
import type { HeadObject, ObjectStore } from './s3/object-store.js'
import type { Entry } from './workspace/workspace.js'

interface MergeContext { base: Base, session: Session | undefined, store: ObjectStore, stats: SyncStats }

/**
 * Decides about the entries at whose paths others have stored something since the base: an upload of this session that
 * was interrupted goes on, what the workspace has not changed is left to the others, and of what both have changed both
 * versions are kept.
 * @returns by path: the names under which the workspace's versions are stored. @throws {S3Error}
 */
export async function mergeContested (
  plan: UploadPlan, remote: Remote, { base, session, store, stats }: MergeContext
): Promise<Map<string, string>> {
  const copies = new Map<string, string>()
  if (session === undefined || plan.contested.length === 0) return copies
  const nameCopy = copyNames(remote, session)
  const ask = async (entry: Entry) => {
    // What is in the manifest of another session is that session's.
    const key = remote.untracked.get(entry.path)?.key
    return { entry, object: key === undefined ? undefined : await store.head(key) }
  }
  const asked = mapOrdered(plan.contested, () => 0, ask, store.requestsInFlight, Infinity)
  for await (const { entry, object } of asked) {
    const { path } = entry
    const known = base.entries.get(path)
    if (object !== undefined && isOwn(entry, object, session)) {
      plan.uploads.push(entry)
      replaceBelow(path, plan, remote, base)
    } else if (known !== undefined && isSame(entry, known)) {
      plan.unresolved.add(path)
      if (isCounted(path, entry.type)) stats.kept++
    } else {
      const copy = nameCopy(path)
      const saved = remote.tracked.get(copy)
      copies.set(path, copy)
      plan.unresolved.add(path).add(copy)
      if (saved !== undefined && isSame(entry, saved)) plan.unchanged.set(copy, saved)
      else plan.uploads.push(entry)
      stats.warn({
        path,
        code: 'CONFLICT',
        message: 'Others have changed it in S3 since this sandbox last synced, and theirs stays. To settle it, download, ' +
          `keep what you want, delete the copy, and upload with \`delete\`. This sandbox's version is stored as ${copy}.`
      })
    }
  }
  return copies
}

/** What was below the name of a file that has taken the place of a directory goes, but for the news of others. */
function replaceBelow (path: string, plan: UploadPlan, remote: Remote, base: Base) {
  for (const [other, saved] of plan.theirs) {
    if (!other.startsWith(`${path}/`) || isNews(other, remote, base)) continue
    plan.theirs.delete(other)
    plan.unresolved.delete(other)
    plan.replaced.set(other, saved)
  }
}

/** Whether this session has stored the object, or the same as it has. */
function isOwn ({ size, mode, mtime }: Entry, object: HeadObject, session: Session): boolean {
  if (object.metadata['sandbox'] === session.id) return true
  const theirs = fromMetadata(object.key, object.metadata)
  return object.size === size && theirs.mode === mode && theirs.mtime !== undefined && sameTime(theirs.mtime, mtime)
}

/** Names copies `<path>.conflict-<sandbox>-<time>`; a file keeps the name of the copy that it has. */
function copyNames ({ tracked }: Pick<Remote, 'tracked'>, { id }: Session): (path: string) => string {
  const mark = `.conflict-${id}-`
  const time = new Date().toISOString().replace(/[-:]|\.\d+/g, '')
  const earlier = new Map<string, string>()
  for (const path of tracked.keys()) {
    const at = path.lastIndexOf(mark)
    if (at !== -1) earlier.set(path.slice(0, at), path)
  }
  return (path) => {
    const stem = shortened(path, maxNameBytes - mark.length - time.length)
    return earlier.get(stem) ?? stem + mark + time
  }
}

/** A path whose last name has no more than so many bytes. */
function shortened (path: string, bytes: number): string {
  const start = path.lastIndexOf('/') + 1
  const name = Buffer.from(path.slice(start))
  if (name.length <= bytes) return path
  return path.slice(0, start) + name.subarray(0, bytes).toString().replace(/\ufffd+$/, '')
}
