import { mapOrdered } from '../../lib/concurrency.js'
import { digest } from '../../lib/ids.js'
import { isNews, type Base, type Session } from './base.js'
import { isCounted, isSame, sameTime } from './manifest.js'
import type { UploadPlan } from './plan-upload.js'
import type { Remote } from './remote.js'
import type { SyncStats } from './report.js'
import { maxKeyBytes, maxNameBytes } from './s3/keys.js'
import { fromMetadata } from './s3/metadata.js'
import type { HeadObject, ObjectStore } from './s3/object-store.js'
import { keyOf, type SavedEntry } from './transfer/entries.js'
import type { Entry, Workspace } from './workspace/workspace.js'

/** The name of a copy: its original, or what is left of that, and the sandbox that stored it. */
const copyPattern = /^(.+)\.conflict-(sb-[\w-]+)-\d{8}T\d{6}Z$/s

interface MergeContext {
  base: Base
  session?: Session | undefined
  store: ObjectStore
  stats: SyncStats
  prefix: string
  workspace: Workspace
  /** All that the workspace has. */
  local: ReadonlyMap<string, Entry>
}

/**
 * Decides about the entries at whose paths others have stored something since the base: an upload of this session that
 * was interrupted goes on, what the workspace has not changed is left to the others, and of what both have changed both
 * versions are kept.
 * @returns by path: the names under which the workspace's versions are stored. @throws {S3Error}
 */
export async function mergeContested (
  plan: UploadPlan, remote: Remote, context: MergeContext
): Promise<Map<string, string>> {
  const copies = new Map<string, string>()
  const { base, session, store, stats } = context
  if (session === undefined || plan.contested.length === 0) return copies
  const nameCopy = copyNames(remote, { ...context, session })
  const ask = async (entry: Entry) => {
    // What is in the manifest of another session is that session's.
    const key = remote.untracked.get(entry.path)?.key
    return { entry, object: key === undefined ? undefined : await store.head(key) }
  }
  const same = await sameContents(plan.contested, remote, context.workspace)
  const asked = mapOrdered(plan.contested, () => 0, ask, store.requestsInFlight, Infinity)
  for await (const { entry, object } of asked) {
    const { path } = entry
    const known = base.entries.get(path)
    if (same.has(path)) {
      plan.unchanged.set(path, remote.tracked.get(path)!)
      plan.theirs.delete(path)
      plan.unresolved.delete(path)
    } else if (object !== undefined && isOwn(entry, object, session)) {
      plan.uploads.push(entry)
      replaceBelow(path, plan, remote, base)
    } else if (known !== undefined && isSame(entry, known)) {
      plan.unresolved.add(path)
      if (isCounted(path, entry.type)) stats.kept++
    } else {
      const copy = await nameCopy(path)
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

/** Paths at which others have stored what the workspace has. */
async function sameContents (
  contested: Entry[], { tracked, untracked }: Remote, workspace: Workspace
): Promise<Set<string>> {
  const isAlike = (entry: Entry) => {
    const saved = untracked.has(entry.path) ? undefined : tracked.get(entry.path)
    return saved?.hashes.length === 1 && isSame(entry, saved)
  }
  const alike = contested.filter(isAlike)
  if (alike.length === 0) return new Set()
  const [files, links] = [alike.filter(({ type }) => type === 'file'), alike.filter(({ type }) => type === 'symlink')]
  const hashes = files.length > 0 ? await workspace.hash(files.map(({ path }) => path)) : new Map<string, string>()
  if (links.length > 0) {
    for await (const read of workspace.readMany(links)) if ('body' in read) hashes.set(read.entry.path, digest(read.body))
  }
  return new Set(alike.map(({ path }) => path).filter((path) => hashes.get(path) === tracked.get(path)!.hashes[0]))
}

/** Whether this session has stored the object, or the same as it has. */
function isOwn ({ size, mode, mtime }: Entry, object: HeadObject, session: Session): boolean {
  if (object.metadata['sandbox'] === session.id) return true
  const theirs = fromMetadata(object.key, object.metadata)
  return object.size === size && theirs.mode === mode && theirs.mtime !== undefined && sameTime(theirs.mtime, mtime)
}

/**
 * Names copies `<path>.conflict-<sandbox>-<time>`. A file keeps the name of its copy until a download brings that, or
 * another sandbox changes it.
 */
function copyNames (
  remote: Pick<Remote, 'tracked' | 'untracked'>, { base, session, store, prefix, local }: Required<MergeContext>
): (path: string) => Promise<string> {
  const { tracked, untracked } = remote
  const mark = `.conflict-${session.id}-`
  const earlier = new Map<string, { copy: string, key: string }>()
  const keys = new Map([...tracked].map(([path, saved]) => [path, keyOf(path, saved)]))
  for (const [path, { key }] of untracked) keys.set(path, key)
  for (const [copy, key] of keys) {
    const [, stem, sandboxId] = copyPattern.exec(copy) ?? []
    const isOwn = stem !== undefined && sandboxId === session.id
    if (isOwn && !local.has(copy) && !base.entries.has(copy)) earlier.set(stem, { copy, key })
  }
  const taken = new Set([...keys.keys(), ...local.keys()])
  const now = Date.now()
  return async (path) => {
    const stem = shortened(path, prefix, mark.length + timeLength)
    const last = earlier.get(stem)
    if (last !== undefined && (await store.head(last.key))?.metadata['sandbox'] === session.id) return last.copy
    for (let ms = now; ; ms += 1000) {
      const copy = stem + mark + new Date(ms).toISOString().replace(/[-:]|\.\d+/g, '')
      if (taken.has(copy)) continue
      taken.add(copy)
      return copy
    }
  }
}

/** Entries that are copies of conflicts, by the paths of their originals; those whose names were cut are left out. */
export function copiesByOriginal (entries: ReadonlyMap<string, SavedEntry>): Map<string, SavedEntry[]> {
  const copies = new Map<string, SavedEntry[]>()
  for (const [path, saved] of entries) {
    const original = copyPattern.exec(path)?.[1]
    if (original !== undefined) copies.set(original, [...copies.get(original) ?? [], saved])
  }
  return copies
}

const timeLength = '20260102T030405Z'.length
const digestLength = 8

/** A path to which so many bytes can be added. What is cut is told apart by a digest. */
function shortened (path: string, prefix: string, added: number): string {
  const start = path.lastIndexOf('/') + 1
  const name = Buffer.from(path.slice(start))
  // One byte less, as for any path that may be a directory.
  const bytes = Math.min(maxNameBytes, maxKeyBytes - 1 - Buffer.byteLength(prefix + path.slice(0, start))) - added
  if (name.length <= bytes) return path
  const rest = name.subarray(0, Math.max(0, bytes - digestLength - 1)).toString().replace(/\ufffd+$/, '')
  return `${path.slice(0, start)}${rest}-${digest(path, digestLength)}`
}
