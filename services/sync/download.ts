import { AppError } from '../../errors.js'
import type { SyncReport } from '../../schemas/sync.js'
import { writeManifest } from './manifest-store.js'
import { countFiles } from './manifest.js'
import { planUnpacking, type Packs } from './packs.js'
import { planDownload, type DownloadPlan } from './plan-download.js'
import { readRemote, type Remote } from './remote.js'
import { SyncStats } from './report.js'
import { S3Error } from './s3/errors.js'
import { isPart, manifestKey, versionKey } from './s3/keys.js'
import type { ObjectStore } from './s3/object-store.js'
import { downloadFiles } from './transfer/download-files.js'
import type { SavedEntry } from './transfer/entries.js'
import type { TransferOptions } from './upload.js'
import { verify } from './verify.js'

export interface DownloadOptions extends TransferOptions {
  /** The save to restore; the latest otherwise. */
  version?: string | undefined
  /** Leave alone what is younger in the workspace. */
  keepNewer?: boolean
}

/**
 * Restores a workspace from a prefix and proves that all is there (3.2, 3.5); an empty prefix is a success (3.6).
 * @throws {S3Error | WorkspaceLost | AppError} VERSION_NOT_FOUND; single files that failed are in the report.
 */
export async function download (options: DownloadOptions): Promise<SyncReport> {
  const { workspace, store, version, dryRun = false, keepNewer = false, onProgress } = options
  const tally = new SyncStats(onProgress)
  tally.phase('list')
  const [listing, remote] = await Promise.all([
    workspace.list(), readRemote(store, version === undefined ? manifestKey : versionKey(version))
  ])
  if (version !== undefined && !remote.hasManifest) throw new AppError('VERSION_NOT_FOUND')
  const leftovers = [...listing.entries.keys()].filter(isPart)
  for (const path of leftovers) listing.entries.delete(path)
  const plan = planDownload(listing.entries, remote, keepNewer)
  for (const problem of plan.problems) tally.fail(problem)
  if (version !== undefined) failMissing(remote, tally)
  tally.skipped = countFiles(plan.unchanged)
  tally.kept = plan.kept.length
  tally.totalFiles = plan.downloads.length
  tally.totalBytes = plan.downloads.reduce((sum, { size }) => sum + size, 0)
  const stale = options.delete ? plan.stale : []
  if (dryRun) return tally.dryRun('download', stale.length)

  tally.phase('transfer')
  await workspace.remove([...leftovers, ...plan.inTheWay])
  const written = await restore(plan, remote.packs, options, tally)
  if (stale.length > 0) {
    tally.phase('delete')
    await workspace.remove(stale.toReversed())
    tally.deleted = stale.length
  }
  const learned = [...written.values()].some(({ own }) => !own)
  if (learned && version === undefined) await remember(store, remote, written)
  return tally.report('download', version === undefined ? {} : { version })
}

/** Transfers, then looks at the workspace again; what is not as it has to be gets one more chance. */
async function restore (
  plan: DownloadPlan, packs: Packs, { workspace, store, agentLauncher }: TransferOptions, tally: SyncStats
) {
  let { directories, downloads } = plan
  const written = new Map<string, SavedEntry>()
  const proved = new Set<string>()
  for (const last of [false, true]) {
    if (directories.length + downloads.length > 0) {
      tally.phase('transfer')
      const targets = { directories, ...planUnpacking(downloads, last ? new Map() : packs) }
      const outcome = await downloadFiles(targets, { workspace, store, agentLauncher, stats: tally })
      for (const [path, saved] of outcome.written) written.set(path, saved)
      for (const path of outcome.verifiedInPlace) proved.add(path)
    }
    tally.phase('verify')
    const { wrong, count, leftovers } = await verify(workspace, { written, verifiedInPlace: proved }, plan.unchanged)
    tally.verified = count
    await workspace.remove(leftovers)
    if (wrong.size === 0) break
    if (last) for (const [path, message] of wrong) tally.fail({ path, code: 'NOT_VERIFIED', message })
    tally.files -= downloads.filter(({ path }) => wrong.has(path)).length
    directories = directories.filter(({ path }) => wrong.has(path))
    downloads = downloads.filter(({ path }) => wrong.has(path))
    for (const path of wrong.keys()) {
      written.delete(path)
      proved.delete(path)
    }
  }
  return written
}

/** The next sync needs not ask these objects again what they are. Who may only read the prefix has to. */
async function remember (store: ObjectStore, { tracked: known, superseded: retired }: Remote, written: Map<string, SavedEntry>) {
  await writeManifest(store, { entries: new Map([...known, ...written]), superseded: retired }).catch((error: unknown) => {
    if (!(error instanceof S3Error) || error.kind !== 'fatal') throw error
  })
}

function failMissing ({ missing }: Remote, tally: SyncStats) {
  for (const path of missing.keys()) {
    tally.fail({ path, code: 'OBJECT_GONE', message: 'Its object was removed or replaced since this save.' })
  }
}
