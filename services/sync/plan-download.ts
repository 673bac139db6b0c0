import { isSame } from './manifest.js'
import type { Remote } from './remote.js'
import { parentsOf } from './s3/keys.js'
import { keyOf, type SavedEntry, type Target } from './transfer/entries.js'
import type { Entry, Problem } from './workspace/workspace.js'

export interface DownloadPlan {
  directories: Target[]
  /** Files and symlinks. */
  downloads: Target[]
  /** In the workspace already, as they are in S3. */
  unchanged: Map<string, SavedEntry>
  /** In the workspace, and changed there since they were stored. */
  kept: string[]
  /** To be removed first, in this order: the content of a directory, then the directory. */
  inTheWay: string[]
  /** In the workspace as they were stored, and gone from S3 since. */
  stale: string[]
  problems: Problem[]
}

/**
 * What a download has to do.
 * @param keepNewer leaves files alone that are newer in the workspace than in S3: work that was never stored.
 */
export function planDownload (local: ReadonlyMap<string, Entry>, remote: Remote, keepNewer: boolean): DownloadPlan {
  const plan: DownloadPlan = {
    directories: [],
    downloads: [],
    unchanged: new Map(),
    kept: [],
    inTheWay: [],
    stale: [],
    problems: [...remote.problems]
  }
  const targets = new Map<string, Target>()
  for (const [path, saved] of remote.tracked) {
    targets.set(path, { path, key: keyOf(path, saved), etag: saved.etag, size: saved.size, saved })
  }
  for (const [path, object] of remote.untracked) targets.set(path, { path, ...object })
  const parents = parentsOf(targets.keys())
  for (const { path, ...target } of targets.values()) {
    if (isDirectory(target) || !parents.has(path)) continue
    plan.problems.push({ path, code: 'KEY_CONFLICT', message: 'Other keys need a directory of this name.' })
    targets.delete(path)
  }
  replaceFiles(targets, plan, local, keepNewer)
  replaceDirectories(targets, plan, local, keepNewer)
  for (const target of targets.values()) classify(target, plan, local.get(target.path), keepNewer)
  for (const [path, saved] of remote.missing) {
    const entry = local.get(path)
    if (entry !== undefined && isSame(entry, saved)) plan.stale.push(path)
  }
  return plan
}

function classify (target: Target, plan: DownloadPlan, entry: Entry | undefined, keepNewer: boolean) {
  const { path, saved } = target
  if (entry !== undefined && saved !== undefined && isSame(entry, saved)) plan.unchanged.set(path, saved)
  else if (isDirectory(target)) plan.directories.push(target)
  else if (entry !== undefined && keepNewer && isNewer(entry, target)) plan.kept.push(path)
  else plan.downloads.push(target)
}

/** Files in the place of directories are replaced, as changed files are. */
function replaceFiles (
  targets: Map<string, Target>, plan: DownloadPlan, local: ReadonlyMap<string, Entry>, keepNewer: boolean
) {
  const needed = [...parentsOf(targets.keys()), ...[...targets.values()].filter(isDirectory).map(({ path }) => path)]
  const files = needed.filter((path) => (local.get(path)?.type ?? 'directory') !== 'directory')
  for (const [path, inside] of groupsBelow(files, targets.values())) {
    const entry = local.get(path)!
    const own = targets.get(path)
    const all = own === undefined ? inside : [own, ...inside]
    const wanted = all.some((target) => !isDirectory(target)) ? all.filter((target) => !isDirectory(target)) : all
    if (!keepNewer || !wanted.every((target) => isNewer(entry, target))) plan.inTheWay.push(path)
    else leaveOut([path, ...inside.map(({ path }) => path)], path, targets, plan)
  }
}

/** Directories in the place of files are replaced when no file is lost with them. */
function replaceDirectories (
  targets: Map<string, Target>, plan: DownloadPlan, local: ReadonlyMap<string, Entry>, keepNewer: boolean
) {
  const files = [...targets.values()].filter((target) => !isDirectory(target)).map(({ path }) => path)
  const directories = files.filter((path) => local.get(path)?.type === 'directory')
  for (const [path, inside] of groupsBelow(directories, local.values())) {
    const work = inside.filter(({ type }) => type !== 'directory')
    if (work.length === 0) plan.inTheWay.push(...inside.map(({ path }) => path).sort().toReversed(), path)
    else if (keepNewer && work.some((entry) => isNewer(entry, targets.get(path)!))) {
      leaveOut([path], path, targets, plan)
    } else {
      const message = 'A directory that is not empty is in its place: move it away and sync again.'
      plan.problems.push({ path, code: 'DIRECTORY_IN_THE_WAY', message })
      targets.delete(path)
    }
  }
}

function leaveOut (paths: string[], kept: string, targets: Map<string, Target>, plan: DownloadPlan) {
  plan.kept.push(kept)
  for (const path of paths) targets.delete(path)
}

/** The entries below each of the paths. */
function groupsBelow<T extends { path: string }> (paths: string[], all: Iterable<T>): Map<string, T[]> {
  const groups = new Map(paths.map((path) => [path, [] as T[]]))
  if (groups.size === 0) return groups
  for (const one of all) for (const parent of parentsOf([one.path])) groups.get(parent)?.push(one)
  return groups
}

function isDirectory ({ saved, key }: Pick<Target, 'saved' | 'key'>): boolean {
  return saved?.type === 'directory' || key.endsWith('/')
}

/** Whether an entry was changed after the object was, or after it was stored. */
function isNewer (entry: Entry, { saved, storedAt = 0 }: Target): boolean {
  return entry.type !== 'directory' && Number(entry.mtime) > (saved === undefined ? storedAt / 1000 : Number(saved.mtime))
}
