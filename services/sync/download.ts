import { AppError } from '../../errors.js'
import type { SyncReport } from '../../schemas/sync.js'
import { isSameBase, placeholder, type Session } from './base.js'
import { withoutIgnoredObjects } from './ignore.js'
import { writeBase, writeManifest } from './manifest-store.js'
import { countFiles, isCounted, isFarTime, sameTime } from './manifest.js'
import type { SyncOptions } from './options.js'
import { planUnpacking, type Packs } from './packs.js'
import { planDownload, type DownloadPlan } from './plan-download.js'
import { readRemote, unreadableManifest, type Remote } from './remote.js'
import { SyncStats } from './report.js'
import { S3Error } from './s3/errors.js'
import { isPart, manifestKey, parentsOf, versionKey } from './s3/keys.js'
import type { ObjectStore } from './s3/object-store.js'
import { downloadFiles } from './transfer/download-files.js'
import type { SavedEntry } from './transfer/entries.js'
import type { DownloadOutcome } from './transfer/outcome.js'
import type { Entry, Workspace } from './workspace/workspace.js'

interface DownloadOptions extends SyncOptions {
  /** The version to restore; the latest otherwise. */
  version?: string | undefined
  /** Leave alone what is newer in the workspace. */
  keepNewer?: boolean
}

/**
 * Restores a workspace from a prefix and proves that all is there (3.2, 3.5); an empty prefix is a success (3.6).
 * @throws {S3Error | WorkspaceLost | AppError} VERSION_NOT_FOUND; single files that failed are in the report.
 */
export async function download (options: DownloadOptions): Promise<SyncReport> {
  const { workspace, store, session, version, dryRun = false, keepNewer = false, onProgress } = options
  const stats = new SyncStats(onProgress)
  stats.phase('list')
  const [listing, remote] = await Promise.all([
    workspace.list(), readRemote(store, version === undefined ? manifestKey : versionKey(version))
  ])
  if (version !== undefined && remote.manifest === 'missing') throw new AppError('VERSION_NOT_FOUND')
  const leftovers = [...listing.entries.keys()].filter(isPart)
  for (const path of leftovers) listing.entries.delete(path)
  const { ignored, ...concerned } = await withoutIgnoredObjects(remote, store, workspace, listing.entries)
  const isDeleting = options.delete ?? false
  const plan = planDownload(listing.entries, { ...remote, ...concerned }, { keepNewer, isDeleting })
  for (const problem of plan.problems) stats.fail(problem)
  for (const problem of plan.warnings) stats.warn(problem)
  if (version !== undefined) failMissing(concerned, stats)
  if (remote.manifest === 'partial') {
    if (version === undefined) stats.warn(unreadableManifest(manifestKey))
    else stats.fail(unreadableManifest(versionKey(version)))
  }
  stats.ignored = ignored
  stats.skipped = countFiles(plan.unchanged)
  stats.kept = plan.kept.filter((path) => isCounted(path, 'file')).length
  stats.totalFiles = plan.downloads.filter(({ path }) => isCounted(path, 'file')).length
  stats.totalBytes = plan.downloads.reduce((sum, { size }) => sum + size, 0)
  const stale = isDeleting ? plan.stale : []
  const deleted = countFiles(stale.map((path) => [path, remote.missing.get(path)!]))
  if (dryRun) return stats.dryRun('download', deleted)

  stats.phase('transfer')
  await workspace.remove([...leftovers, ...plan.inTheWay])
  const written = await restore(plan, remote.packs, options, stats)
  if (stale.length > 0) {
    stats.phase('delete')
    // What had to go first is gone; a symlink that is there now may lead to other files.
    const gone = new Set(plan.inTheWay)
    await workspace.remove(stale.filter((path) => !gone.has(path)).toReversed())
    stats.deleted = deleted
  }
  if (version === undefined) await remember(store, { plan, remote, written, session, stats })
  return stats.report('download', version === undefined ? {} : { version })
}

/** Transfers, then lists the workspace again. What is not as it should be is transferred once more. */
async function restore (plan: DownloadPlan, packs: Packs, options: SyncOptions, stats: SyncStats) {
  const { workspace, store, agentLauncher } = options
  let { directories, downloads, touched } = plan
  const written = new Map<string, SavedEntry>()
  const verifiedInPlace = new Set<string>()
  for (const isLast of [false, true]) {
    if (directories.length + downloads.length > 0) {
      stats.phase('transfer')
      const targets = { directories, touched, ...planUnpacking(downloads, isLast ? new Map() : packs) }
      const outcome = await downloadFiles(targets, { workspace, store, agentLauncher, stats })
      for (const [path, saved] of outcome.written) written.set(path, saved)
      for (const path of outcome.verifiedInPlace) verifiedInPlace.add(path)
    }
    stats.phase('verify')
    const { wrong, count, leftovers, times } = await verify(workspace, { written, verifiedInPlace }, plan.unchanged)
    stats.verified = count
    for (const [path, mtime] of times) {
      written.set(path, { ...written.get(path)!, mtime })
      stats.warn({ path, code: 'TIME_NOT_KEPT', message: 'The file system cannot hold its time.' })
    }
    await workspace.remove(leftovers)
    if (wrong.size === 0) break
    if (isLast) for (const [path, message] of wrong) stats.fail({ path, code: 'NOT_VERIFIED', message })
    stats.files -= downloads.filter(({ path }) => wrong.has(path) && isCounted(path, 'file')).length
    const all = [...directories, ...touched]
    directories = directories.filter(({ path }) => wrong.has(path))
    downloads = downloads.filter(({ path }) => wrong.has(path))
    const parents = parentsOf(wrong.keys())
    touched = all.filter((one) => one.saved !== undefined && parents.has(one.path) && !directories.includes(one))
    for (const path of wrong.keys()) {
      written.delete(path)
      verifiedInPlace.delete(path)
    }
  }
  return written
}

/**
 * Writes what the next sync need not ask these objects again, and what this session has seen. The prefix may be
 * read-only.
 */
async function remember (
  store: ObjectStore, { plan, remote, written, session, stats }: {
    plan: DownloadPlan
    remote: Remote
    written: Map<string, SavedEntry>
    session: Session | undefined
    stats: SyncStats
  }
) {
  const entries = new Map([...remote.tracked, ...written].filter(([path]) => !plan.hidden.has(path)))
  const seen = new Map([...entries].filter(([path]) => !stats.hasFailed(path)))
  for (const target of plan.outdated) if (target.saved === undefined) seen.set(target.path, placeholder(target))
  const hasNews = [...written].some(([path, { own, hashes }]) =>
    !own || hashes.join() !== remote.tracked.get(path)?.hashes.join())
  // A manifest that this session has written says that all of it was seen.
  const saysTooMuch = session !== undefined && remote.session === session.id && !isSameBase(seen, remote.recorded)
  const isChanged = (hasNews || plan.hidden.size > 0 || saysTooMuch) && remote.manifest !== 'partial'
  const owner = session !== undefined && isSameBase(seen, entries) ? session.id : undefined
  const content = { entries, superseded: remote.superseded, session: owner }
  await Promise.all([
    isChanged && writeManifest(store, content, { base: owner }),
    session !== undefined && !(isChanged && owner !== undefined) && writeBase(store, session.id, seen)
  ]).catch((error: unknown) => {
    if (!(error instanceof S3Error) || error.kind !== 'fatal') throw error
  })
}

function failMissing ({ missing }: Pick<Remote, 'missing'>, stats: SyncStats) {
  for (const path of missing.keys()) {
    stats.fail({ path, code: 'OBJECT_GONE', message: 'Its object was removed or replaced since this version.' })
  }
}

/**
 * Proves that entries are in the workspace as they were stored (3.5): present, with their type, size and mode, and with
 * their content where one hash covers it. Of larger files every part was compared on its way.
 * @returns what is wrong, by path, how many files and symlinks are right, files that a lost transfer agent left, and
 * the times of files of which the file system could not hold the right ones.
 */
export async function verify (
  workspace: Workspace, { written, verifiedInPlace }: Pick<DownloadOutcome, 'written' | 'verifiedInPlace'>,
  unchanged: ReadonlyMap<string, SavedEntry>
): Promise<{ wrong: Map<string, string>, count: number, leftovers: string[], times: Map<string, string> }> {
  const wrong = new Map<string, string>()
  const times = new Map<string, string>()
  if (written.size === 0 && unchanged.size === 0) return { wrong, count: 0, leftovers: [], times }
  const toHash = new Set([...written]
    .filter(([path, { type, hashes }]) => type === 'file' && hashes.length === 1 && !verifiedInPlace.has(path))
    .map(([path]) => path))
  const [{ entries }, hashes] = await Promise.all([workspace.list(), workspace.hash([...toHash])])
  let count = 0
  for (const [path, saved] of [...unchanged, ...written]) {
    const entry = entries.get(path)
    const isFar = entry?.type === 'file' && isFarTime(saved.mtime) && !sameTime(entry.mtime, saved.mtime)
    if (isFar && written.has(path)) times.set(path, entry.mtime)
    const problem = difference(entry, isFar ? { ...saved, mtime: entry.mtime } : saved) ??
      (toHash.has(path) ? contentProblem(saved, hashes.get(path)) : undefined)
    if (problem !== undefined) wrong.set(path, problem)
    else if (isCounted(path, saved.type)) count++
  }
  return { wrong, count, leftovers: [...entries.keys()].filter(isPart), times }
}

function difference (entry: Entry | undefined, saved: SavedEntry): string | undefined {
  if (entry === undefined) return 'It is not in the workspace.'
  if (entry.type !== saved.type) return `There is a ${entry.type} instead of a ${saved.type}.`
  if (entry.type === 'symlink') return entry.size === saved.size ? undefined : 'The symlink has another target.'
  if (entry.mode !== saved.mode) return `Its mode is ${entry.mode.toString(8)}, not ${saved.mode.toString(8)}.`
  if (entry.type === 'directory') return
  if (entry.size !== saved.size) return `It has ${entry.size} bytes, not ${saved.size}.`
  if (!sameTime(entry.mtime, saved.mtime)) return 'It was changed meanwhile.'
}

function contentProblem ({ hashes }: SavedEntry, hash: string | undefined): string | undefined {
  if (hash === undefined) return 'It cannot be read.'
  if (hash !== hashes[0]) return 'Its content is not what S3 has.'
}
