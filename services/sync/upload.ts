import { AppError } from '../../errors.js'
import type { SyncReport } from '../../schemas/sync.js'
import { abortLeftovers, deleteObjects, deletePacks, supersede } from './cleanup.js'
import { withoutIgnored } from './ignore.js'
import { writeManifest } from './manifest-store.js'
import { countFiles } from './manifest.js'
import { uploadPacks } from './pack-upload.js'
import { unusedPacks } from './packs.js'
import { planUpload, type UploadPlan } from './plan-upload.js'
import { readRemote, saveKey, type Remote } from './remote.js'
import { SyncStats, type OnProgress } from './report.js'
import { newVersion, packKey } from './s3/keys.js'
import type { ObjectStore } from './s3/object-store.js'
import type { SavedEntry } from './transfer/entries.js'
import type { AgentLauncher } from './transfer/agent.js'
import { uploadFiles } from './transfer/upload-files.js'
import type { Workspace } from './workspace/workspace.js'

export interface TransferOptions {
  workspace: Workspace
  store: ObjectStore
  /** Without one all bytes pass through the service. */
  agentLauncher?: AgentLauncher | undefined
  /** The store's, for the limits of keys. */
  prefix: string
  dryRun?: boolean
  /** Also remove on the other side what a sync has put there and is gone on this side. */
  delete?: boolean
  onProgress?: OnProgress | undefined
}

export interface UploadOptions extends TransferOptions {
  /** Each save stays as it was, beside those before it. */
  versioned?: boolean
}

/**
 * Stores a workspace under a prefix: lists both sides, plans, transfers what differs, and writes the manifest last.
 * @throws {S3Error | WorkspaceLost | AppError} SYNC_REFUSED; single files that failed are in the report.
 */
export async function upload (options: UploadOptions): Promise<SyncReport> {
  const { workspace, store, agentLauncher, prefix, dryRun = false, versioned = false, onProgress } = options
  const tally = new SyncStats(onProgress)
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
  // A save is the workspace as it was, as far as that can be seen: earlier ones still have what this one leaves out.
  const isSeen = wanted.size > 0 && listing.problems.length === 0
  const gone = goneFrom(plan, versioned && isSeen ? 'all' : options.delete ? 'own' : 'none')
  if (dryRun) return tally.dryRun('upload', countFiles(gone))

  const version = versioned ? newVersion(new Date()) : undefined
  const entries = new Map([...plan.unchanged, ...plan.stale].filter(([path]) => !gone.has(path)))
  if (plan.uploads.length > 0) {
    tally.phase('transfer')
    await abortLeftovers(store, new Set(wanted.keys()))
    await uploadFiles(plan.uploads, {
      workspace,
      store,
      agentLauncher,
      stats: tally,
      keyFor: ({ path, type }) => version === undefined ? undefined : saveKey(version, path, type),
      onStored: (path, saved) => { entries.set(path, saved) }
    })
  }
  const superseded = new Map([...plan.replaced, ...gone].filter(([path]) => !tally.hasFailed(path)))
  if (!versioned && superseded.size > 0) {
    tally.phase('delete')
    for (const [path, saved] of await deleteObjects(store, superseded, tally)) entries.set(path, saved)
  }
  tally.deleted = countFiles(new Map([...gone].filter(([path]) => !tally.hasFailed(path))))
  // What failed keeps what is known of it: it is there as it was.
  for (const [path, saved] of remote.tracked) if (tally.hasFailed(path) && !entries.has(path)) entries.set(path, saved)
  const isPacked = await uploadPacks(entries, { ...remote, workspace, store, agentLauncher, wanted })
  const isChanged = plan.uploads.length + superseded.size > 0 || entries.size !== remote.tracked.size || versioned
  if (isChanged || isPacked) {
    const unused = versioned ? [...plan.uploads.map(({ path }) => path), ...superseded.keys()] : []
    await writeManifest(store, { entries, superseded: supersede(unused, remote, tally) }, version)
    // Earlier saves need those that this one does not.
    const unusedPackKeys = versioned ? [] : unusedPacks(entries, remote.packs).map(packKey)
    await deletePacks(store, [...unusedPackKeys, ...remote.obsoletePacks])
  }
  return tally.report('upload', version === undefined ? {} : { version })
}

/** What is not in the workspace any more, and is to be left out. */
function goneFrom ({ stale }: UploadPlan, which: 'all' | 'own' | 'none'): Map<string, SavedEntry> {
  return new Map([...stale].filter(([, { own }]) => which === 'all' || (which === 'own' && own)))
}

/** @throws {AppError} SYNC_REFUSED: whoever mirrors nothing over something has most likely mistaken the place. */
function refuseToEmpty (wanted: number, problems: number, { isEmpty: empty }: Remote) {
  if (wanted === 0 && !empty) {
    throw new AppError('SYNC_REFUSED', { message: 'The workspace is empty: deleting everything in S3 is refused.' })
  }
  if (problems > 0) {
    throw new AppError('SYNC_REFUSED', { message: 'Parts of the workspace can not be read: deleting what is not seen is refused.' })
  }
}
