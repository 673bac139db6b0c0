import { AppError } from '../../errors.js'
import type { SyncReport } from '../../schemas/sync.js'
import { downloadEntries } from './download.js'
import { S3Fault } from './faults.js'
import { withoutIgnored } from './ignore.js'
import { manifestKey, newVersion, versionKey } from './keys.js'
import { encodeManifest, type Saved } from './manifest.js'
import type { ObjectStore } from './object-store.js'
import { planDownload, planUpload, type DownloadPlan } from './plan.js'
import { keyOf, readRemote, saveKey, type Remote } from './remote.js'
import { Tally, type OnProgress } from './report.js'
import { uploadEntries } from './upload.js'
import { verify } from './verify.js'
import type { Workspace } from './workspace.js'

export interface SyncOptions {
  workspace: Workspace
  store: ObjectStore
  /** The store's, for the limits of keys. */
  prefix: string
  dryRun?: boolean
  /** Also remove on the other side what a sync has put there and is gone on this side. */
  delete?: boolean
  onProgress?: OnProgress | undefined
}

export interface UploadOptions extends SyncOptions {
  /** Each save stays as it was, beside those before it. */
  versioned?: boolean
}

export interface DownloadOptions extends SyncOptions {
  /** The save to restore; the latest otherwise. */
  version?: string | undefined
  /** Leave alone what is younger in the workspace. */
  keepNewer?: boolean
}

const day = 24 * 60 * 60 * 1000

/**
 * Stores a workspace under a prefix: lists both sides, plans, transfers what differs, and writes the manifest last.
 * @throws {S3Fault | WorkspaceLost | AppError} SYNC_REFUSED; single files that failed are in the report.
 */
export async function upload (options: UploadOptions): Promise<SyncReport> {
  const { workspace, store, prefix, dryRun = false, versioned = false, onProgress } = options
  const tally = new Tally(onProgress)
  tally.phase('list')
  const [listing, remote] = await Promise.all([workspace.list(), readRemote(store)])
  if (listing.missing) throw new AppError('SYNC_REFUSED', { message: 'The workspace directory is missing or may not be read.' })
  for (const problem of listing.problems) tally.fail(problem)
  const wanted = await withoutIgnored(workspace, listing.entries)
  const plan = planUpload(wanted, listing.entries, remote, prefix)
  if (options.delete) refuseToEmpty(wanted.size, listing.problems.length, remote)
  for (const problem of plan.problems) tally.fail(problem)
  const files = plan.uploads.filter(({ type }) => type !== 'directory')
  tally.skipped = countFiles(plan.unchanged)
  tally.verified = tally.skipped
  tally.ignored = listing.special + listing.entries.size - wanted.size
  tally.totalFiles = files.length
  tally.totalBytes = files.reduce((sum, { size }) => sum + size, 0)
  if (dryRun) return dryReport(tally, 'upload', options.delete ? plan.stale.size : 0)

  const version = versioned ? newVersion(new Date()) : undefined
  const entries = new Map([...plan.unchanged, ...plan.stale])
  if (plan.uploads.length > 0) {
    tally.phase('transfer')
    await abortLeftovers(store, new Set(wanted.keys()))
    await uploadEntries(plan.uploads, {
      workspace,
      store,
      tally,
      keyFor: ({ path, type }) => version === undefined ? undefined : saveKey(version, path, type),
      onStored: (path, saved) => { entries.set(path, saved) }
    })
  }
  const changed = plan.uploads.length > 0 || entries.size !== remote.known.size
  if (!versioned) await deleteReplaced(store, plan.replaced, entries, tally)
  if (options.delete && plan.stale.size > 0) {
    tally.phase('delete')
    await deleteStale(store, plan.stale, entries, tally, versioned)
  }
  // What failed keeps what is known of it: it is there as it was.
  for (const [path, saved] of remote.known) if (tally.hasFailed(path) && !entries.has(path)) entries.set(path, saved)
  if (changed || tally.deleted > 0 || version !== undefined) await saveManifest(store, entries, version)
  return tally.report('upload', version === undefined ? {} : { version })
}

/**
 * Restores a workspace from a prefix and proves that all is there (3.2, 3.5); an empty prefix is a success (3.6).
 * @throws {S3Fault | WorkspaceLost | AppError} VERSION_NOT_FOUND; single files that failed are in the report.
 */
export async function download (options: DownloadOptions): Promise<SyncReport> {
  const { workspace, store, version, dryRun = false, keepNewer = false, onProgress } = options
  const tally = new Tally(onProgress)
  tally.phase('list')
  const [listing, remote] = await Promise.all([
    workspace.list(), readRemote(store, version === undefined ? manifestKey : versionKey(version))
  ])
  if (version !== undefined && remote.known.size + remote.missing.size === 0) throw new AppError('VERSION_NOT_FOUND')
  const plan = planDownload(listing.entries, remote, keepNewer)
  for (const problem of plan.problems) tally.fail(problem)
  if (version !== undefined) failMissing(remote, tally)
  tally.skipped = countFiles(plan.unchanged)
  tally.kept = plan.kept.length
  tally.totalFiles = plan.downloads.length
  tally.totalBytes = plan.downloads.reduce((sum, { size }) => sum + size, 0)
  const stale = options.delete ? plan.stale : []
  if (dryRun) return dryReport(tally, 'download', stale.length)

  tally.phase('transfer')
  await workspace.remove(plan.inTheWay)
  const written = await restore(plan, options, tally)
  if (stale.length > 0) {
    tally.phase('delete')
    await workspace.remove(stale.toReversed())
    tally.deleted = stale.length
  }
  const learned = [...written.values()].some(({ own }) => !own)
  if (learned && version === undefined) await remember(store, new Map([...remote.known, ...written]))
  return tally.report('download', version === undefined ? {} : { version })
}

/** Transfers, then looks at the workspace again; what is not as it has to be gets one more chance. */
async function restore (plan: DownloadPlan, { workspace, store }: SyncOptions, tally: Tally) {
  let { directories, downloads } = plan
  const written = new Map<string, Saved>()
  for (const last of [false, true]) {
    if (directories.length + downloads.length > 0) {
      tally.phase('transfer')
      const done = await downloadEntries(directories, downloads, { workspace, store, tally })
      for (const [path, saved] of done) written.set(path, saved)
    }
    tally.phase('verify')
    const { wrong, count } = await verify(workspace, written, plan.unchanged)
    tally.verified = count
    if (wrong.size === 0) break
    if (last) for (const [path, message] of wrong) tally.fail({ path, code: 'NOT_VERIFIED', message })
    tally.files -= downloads.filter(({ path }) => wrong.has(path)).length
    directories = directories.filter(({ path }) => wrong.has(path))
    downloads = downloads.filter(({ path }) => wrong.has(path))
    for (const path of wrong.keys()) written.delete(path)
  }
  return written
}

/** @throws {AppError} SYNC_REFUSED: whoever mirrors nothing over something has most likely mistaken the place. */
function refuseToEmpty (wanted: number, problems: number, { empty }: Remote) {
  if (wanted === 0 && !empty) {
    throw new AppError('SYNC_REFUSED', { message: 'The workspace is empty: deleting everything in S3 is refused.' })
  }
  if (problems > 0) {
    throw new AppError('SYNC_REFUSED', { message: 'Parts of the workspace can not be read: deleting what is not seen is refused.' })
  }
}

/** Older saves still need the objects of a versioned workspace: there a file is only left out of the next save. */
async function deleteStale (
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
async function deleteReplaced (
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
async function abortLeftovers (store: ObjectStore, paths: Set<string>) {
  for (const pending of await store.pendingUploads()) {
    const path = pending.key.replace(/^\.modal-sandbox\/saves\/[^/]+\//, '')
    if (paths.has(path) || Date.now() - pending.initiated.getTime() > day) await store.abort(pending)
  }
}

async function saveManifest (store: ObjectStore, entries: Map<string, Saved>, version: string | undefined) {
  const bytes = await encodeManifest({ savedAt: new Date().toISOString(), entries })
  if (version !== undefined) await store.put(versionKey(version), bytes)
  await store.put(manifestKey, bytes)
}

/** The next sync needs not ask these objects again what they are. Who may only read the prefix has to. */
async function remember (store: ObjectStore, entries: Map<string, Saved>) {
  await saveManifest(store, entries, undefined).catch((error: unknown) => {
    if (!(error instanceof S3Fault) || error.kind !== 'fatal') throw error
  })
}

function failMissing ({ missing }: Remote, tally: Tally) {
  for (const path of missing.keys()) {
    tally.fail({ path, code: 'OBJECT_GONE', message: 'Its object was removed or replaced since this save.' })
  }
}

function dryReport (tally: Tally, direction: 'upload' | 'download', deleted: number): SyncReport {
  tally.files = tally.totalFiles
  tally.bytes = tally.totalBytes
  tally.deleted = deleted
  tally.verified = 0
  return tally.report(direction, { dryRun: true })
}

function countFiles (entries: Map<string, Saved>): number {
  let count = 0
  for (const { type } of entries.values()) if (type !== 'directory') count++
  return count
}
