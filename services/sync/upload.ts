import { AppError } from '../../errors.js'
import type { SyncReport } from '../../schemas/sync.js'
import { endedSessions, hasSeenAny, isSameBase, nextBase, othersOn, readBase } from './base.js'
import { abortLeftovers, deleteObjects, deleteUnused, supersede } from './cleanup.js'
import { mergeContested } from './conflicts.js'
import { storeForeignModes } from './foreign-modes.js'
import { withoutIgnored } from './ignore.js'
import { writeBase, writeManifest } from './manifest-store.js'
import { countFiles } from './manifest.js'
import type { SyncOptions } from './options.js'
import { unusedPacks, uploadPacks } from './packs.js'
import { planUpload, replacedFor, type UploadPlan } from './plan-upload.js'
import { proveStored } from './proof.js'
import { readRemote, unreadableManifest, versionObjectKey } from './remote.js'
import { SyncStats } from './report.js'
import { manifestKey, newVersion, packKey, parentsOf, sessionKey } from './s3/keys.js'
import type { SavedEntry } from './transfer/entries.js'
import { uploadFiles } from './transfer/upload-files.js'
import type { Entry, Listing } from './workspace/workspace.js'

interface UploadOptions extends SyncOptions {
  /** Each upload is a version that stays as it is, beside earlier ones. */
  versioned?: boolean
  /** No other upload of the session is expected. */
  isLast?: boolean
}

/**
 * Stores a workspace under a prefix: lists both sides, plans, transfers what differs, and writes the manifest last.
 * @throws {S3Error | WorkspaceLost | AppError} SYNC_REFUSED; single files that failed are in the report.
 */
export async function upload (options: UploadOptions): Promise<SyncReport> {
  const { workspace, store, agentLauncher, prefix, session } = options
  const { dryRun = false, versioned = false } = options
  const stats = new SyncStats(options.onProgress)
  stats.phase('list')
  const [listing, remote] = await Promise.all([workspace.list(), readRemote(store)])
  if (listing.missing) throw new AppError('SYNC_REFUSED', { message: 'The workspace directory is missing or may not be read.' })
  const { wanted, isIgnored } = await withoutIgnored(workspace, listing.entries)
  const base = await readBase(store, session, remote)
  const plan = planUpload(wanted, listing.entries, remote, prefix, base)
  const copies = await mergeContested(plan, remote, { ...options, base, stats, local: listing.entries })
  const nameOf = (path: string) => copies.get(path) ?? path
  if (options.delete) refuseToEmpty(wanted.size, listing.problems.length, hasSeenAny(remote, base))
  countPlan(plan, listing, wanted.size, stats)
  if (remote.manifest === 'partial') stats.warn(unreadableManifest(manifestKey))
  // A version is the workspace as it was, if it could be listed: earlier ones still have what this one leaves out.
  const isListed = wanted.size > 0 && listing.problems.length === 0
  // What a manifest does not say may be what protects an object.
  const mayDelete = remote.manifest !== 'partial'
  const which = versioned && isListed ? 'all' : options.delete && mayDelete ? 'own' : 'none'
  const removed = removedEntries(plan, which, isIgnored)
  if (dryRun) return stats.dryRun('upload', countFiles(removed))

  const version = versioned ? newVersion(new Date()) : undefined
  const sent = new Map<string, SavedEntry>()
  const entries = new Map([...plan.theirs, ...plan.unchanged, ...plan.stale].filter(([path]) => !removed.has(path)))
  if (plan.uploads.length > 0) {
    stats.phase('transfer')
    await abortLeftovers(store, new Set(wanted.keys()), othersOn(remote, session).length > 0)
    const onStored = (path: string, { key, ...saved }: SavedEntry) => {
      const stored = key === undefined || key === copies.get(path) ? saved : { ...saved, key }
      sent.set(nameOf(path), stored)
      entries.set(nameOf(path), stored)
    }
    const uploads = version === undefined
      ? await storeForeignModes(plan, remote, store, stats, onStored)
      : plan.uploads
    await uploadFiles(uploads, {
      workspace,
      store,
      agentLauncher,
      stats,
      session: session?.id,
      keyFor: ({ path, type }) =>
        version === undefined ? copies.get(path) : versionObjectKey(version, nameOf(path), type),
      onStored
    })
  }
  // What failed is still in S3 as it was.
  for (const [path, saved] of remote.tracked) if (stats.hasFailed(path) && !entries.has(path)) entries.set(path, saved)
  // Versions that stay keep the contents of their packs, too.
  const repack = options.delete === true && !versioned ? 'on-any-removal' : 'when-half-unused'
  const packing = await uploadPacks(entries, { ...remote, workspace, store, agentLauncher, wanted, repack })
  await proveStored(store, { entries, sent, packs: packing.sent }, remote, stats)
  const replaced = replacedFor(plan, (path) => stats.hasFailed(path))
  const superseded = new Map([...replaced, ...[...removed].filter(([path]) => !stats.hasFailed(path))])
  for (const [path, saved] of plan.replaced) {
    const hasObject = (entries.get(path)?.etag ?? '') !== ''
    if (!superseded.has(path) && !hasObject) entries.set(path, saved)
  }
  if (!versioned && superseded.size > 0) {
    stats.phase('delete')
    const left = await deleteObjects(store, superseded, stats)
    for (const [path, saved] of left) entries.set(path, saved)
    failHidden([...left.keys()], wanted, stats)
  }
  stats.deleted = countFiles(new Map([...removed].filter(([path]) => !stats.hasFailed(path))))
  const isChanged = plan.uploads.length + superseded.size > 0 || entries.size !== remote.tracked.size || versioned ||
    packing.isChanged
  // A sandbox of which not all is stored is not ended.
  const isLast = options.isLast === true && stats.failures === 0
  const isWholeBase = session !== undefined && plan.unresolved.size === 0
  if (isChanged) {
    const outdated = versioned ? [...plan.uploads.map(({ path }) => nameOf(path)), ...superseded.keys()] : []
    const owner = isWholeBase ? session.id : undefined
    const content = { entries, superseded: supersede(outdated, remote, stats), session: owner }
    await writeManifest(store, content, { version, base: isLast ? undefined : owner })
  }
  if (session !== undefined && !isLast && !(isWholeBase && isChanged)) {
    const seen = nextBase(entries, plan.unresolved, base)
    if (!isSameBase(seen, base.entries)) await writeBase(store, session.id, seen)
  }
  // Also those that an earlier sync could not delete any more.
  const unused = versioned ? [] : unusedPacks(entries, remote.packs).map(packKey)
  const ended = endedSessions(remote, isLast ? session : undefined)
  await deleteUnused(store, [...mayDelete ? [...unused, ...remote.obsoletePacks] : [], ...ended.map(sessionKey)])
  return stats.report('upload', version === undefined ? {} : { version })
}

function countPlan (plan: UploadPlan, listing: Listing, wanted: number, stats: SyncStats) {
  for (const problem of [...listing.problems, ...plan.problems]) stats.fail(problem)
  for (const problem of [...listing.warnings, ...plan.warnings]) stats.warn(problem)
  stats.skipped = countFiles(plan.unchanged)
  stats.verified = stats.skipped
  stats.ignored = listing.special + listing.entries.size - wanted
  stats.totalFiles = countFiles(plan.uploads.map((entry) => [entry.path, entry]))
  stats.totalBytes = plan.uploads.reduce((sum, { size }) => sum + size, 0)
}

/** A file is not restored while there are objects below its name. */
function failHidden (left: string[], wanted: ReadonlyMap<string, Entry>, stats: SyncStats) {
  for (const path of parentsOf(left)) {
    if ((wanted.get(path)?.type ?? 'directory') === 'directory') continue
    stats.fail({ path, code: 'KEY_CONFLICT', message: 'It is stored, but S3 refused to delete what was below its name before.' })
  }
}

/** What is not in the workspace any more, and is to be removed from S3 or left out of this version. */
function removedEntries (
  { stale }: UploadPlan, which: 'all' | 'own' | 'none', isIgnored: (path: string, isDirectory: boolean) => boolean
): Map<string, SavedEntry> {
  const isRemoved = ({ own }: SavedEntry) => which === 'all' || (which === 'own' && own)
  return new Map([...stale].filter(([path, saved]) => isRemoved(saved) && !isIgnored(path, saved.type === 'directory')))
}

/** @throws {AppError} SYNC_REFUSED: an empty workspace over a prefix with content is most likely the wrong one. */
function refuseToEmpty (wanted: number, problems: number, hasContent: boolean) {
  if (wanted === 0 && hasContent) {
    throw new AppError('SYNC_REFUSED', { message: 'The workspace is empty: deleting everything in S3 is refused.' })
  }
  if (problems > 0) {
    throw new AppError('SYNC_REFUSED', {
      message: 'Parts of the workspace cannot be read: deleting what is not seen is refused.'
    })
  }
}
