import { copiesByOriginal } from './conflicts.js'
import { isSame, sameTime } from './manifest.js'
import { sameName, type Remote } from './remote.js'
import { parentsOf, remedy } from './s3/keys.js'
import { keyOf, type SavedEntry, type Target } from './transfer/entries.js'
import type { Entry, Problem } from './workspace/workspace.js'

export interface DownloadPlan {
  directories: Target[]
  /** Files and symlinks. */
  downloads: Target[]
  /** Directories that are as they were stored, and get their times back after something was put into them. */
  touched: Target[]
  /** In the workspace already, as they are in S3. */
  unchanged: Map<string, SavedEntry>
  /** In the workspace, and changed there since they were stored. */
  kept: string[]
  /** Objects that the workspace has newer files in the place of. */
  outdated: Target[]
  /** To be removed first, in this order: the content of a directory, then the directory. */
  inTheWay: string[]
  /** In the workspace as they were stored, and gone from S3 since. */
  stale: string[]
  problems: Problem[]
  /** Files with directories in their place: they stay in S3, like any object that the workspace never had. */
  hidden: Set<string>
  /** What a workspace cannot have. */
  warnings: Problem[]
}

export interface DownloadRules {
  /** Leaves files alone that are newer in the workspace than in S3: work that was never stored. */
  keepNewer?: boolean
  /** Removes what is as it was stored, and gone from S3 since. */
  isDeleting?: boolean
}

/** Whether an entry of the workspace is work that was never stored, and newer than an object. */
type IsNewWork = (entry: Entry, target: Target) => boolean

/** What a download has to do. */
export function planDownload (
  local: ReadonlyMap<string, Entry>, remote: Remote, { keepNewer = false, isDeleting = false }: DownloadRules = {}
): DownloadPlan {
  const plan: DownloadPlan = {
    directories: [],
    downloads: [],
    touched: [],
    unchanged: new Map(),
    kept: [],
    outdated: [],
    inTheWay: [],
    stale: staleOf(local, remote),
    problems: [],
    hidden: new Set(),
    warnings: [...remote.warnings]
  }
  // What is as it was when it was stored, if only as the copy of a conflict, is no newer work, whatever its time says.
  const copies = keepNewer ? copiesByOriginal(remote.recorded) : new Map<string, SavedEntry[]>()
  const isStored = (entry: Entry) =>
    [remote.recorded.get(entry.path), ...copies.get(entry.path) ?? []].some((saved) => saved && isSame(entry, saved))
  const isNewWork: IsNewWork = (entry, target) => keepNewer && isNewer(entry, target) && !isStored(entry)
  const targets = targetsOf(remote, plan)
  replaceFiles(targets, plan, local, isNewWork)
  replaceDirectories(targets, plan, local, { keepNewer, isDeleting })
  for (const target of targets.values()) classify(target, plan, local.get(target.path), isNewWork)
  plan.touched = [...parentsIn(plan)].filter(({ path, saved }) => sameTime(local.get(path)!.mtime, saved!.mtime))
  return plan
}

/** Directories that are there already, and in which something is written or removed. */
function * parentsIn ({ directories, downloads, inTheWay, unchanged }: DownloadPlan): Generator<Target> {
  const paths = [...[...directories, ...downloads].map(({ path }) => path), ...inTheWay]
  for (const path of new Set(paths.map((path) => path.slice(0, Math.max(0, path.lastIndexOf('/')))))) {
    const saved = unchanged.get(path)
    if (saved !== undefined) yield { path, key: keyOf(path, saved), etag: saved.etag, size: 0, saved }
  }
}

/** What the workspace has to have. Of a file and a directory of the same name it can have one only. */
function targetsOf ({ tracked, untracked }: Remote, plan: DownloadPlan): Map<string, Target> {
  const targets = new Map<string, Target>()
  for (const [path, saved] of tracked) {
    targets.set(path, { path, key: keyOf(path, saved), etag: saved.etag, size: saved.size, saved })
  }
  const isImplied = (path: string) => targets.get(path)?.saved?.etag === ''
  const parents = parentsOf([...[...targets.keys()].filter((path) => !isImplied(path)), ...untracked.keys()])
  for (const [path, object] of untracked) {
    const target = { path, ...object }
    const other = targets.get(path)
    const isHidden = isDirectory(target) ? other !== undefined && !isDirectory(other) : parents.has(path)
    if (!isHidden) targets.set(path, target)
    else plan.warnings.push({ path: object.key, ...isDirectory(target) ? sameName : hidden })
  }
  for (const { path, ...target } of [...targets.values()].filter(({ path }) => parents.has(path))) {
    if (isDirectory(target)) continue
    plan.warnings.push({ path, ...hidden })
    plan.hidden.add(path)
    targets.delete(path)
  }
  // Directories without objects, of which nothing is left.
  for (const path of [...targets.keys()].filter(isImplied)) {
    const isGone = [...parentsOf([path])].some((parent) => targets.has(parent) && !isDirectory(targets.get(parent)!))
    if (isGone) targets.delete(path)
  }
  return targets
}

const hidden = {
  code: 'KEY_CONFLICT', message: `Other keys need a directory of this name, so the object stays in S3 only: ${remedy}`
}

function staleOf (local: ReadonlyMap<string, Entry>, { missing }: Remote): string[] {
  const isStale = (entry: Entry | undefined, saved: SavedEntry) => entry !== undefined && isSame(entry, saved)
  return [...missing].filter(([path, saved]) => isStale(local.get(path), saved)).map(([path]) => path)
}

function classify (target: Target, plan: DownloadPlan, entry: Entry | undefined, isNewWork: IsNewWork) {
  const { path, saved } = target
  if (entry !== undefined && saved !== undefined && isSame(entry, saved)) plan.unchanged.set(path, saved)
  else if (isDirectory(target)) plan.directories.push(target)
  else if (entry !== undefined && isNewWork(entry, target)) keep(plan, path, target)
  else plan.downloads.push(target)
}

/** Files in the place of directories are replaced, as changed files are. */
function replaceFiles (
  targets: Map<string, Target>, plan: DownloadPlan, local: ReadonlyMap<string, Entry>, isNewWork: IsNewWork
) {
  const needed = [...parentsOf(targets.keys()), ...[...targets.values()].filter(isDirectory).map(({ path }) => path)]
  const files = needed.filter((path) => (local.get(path)?.type ?? 'directory') !== 'directory')
  for (const [path, inside] of groupsBelow(files, targets.values())) {
    const entry = local.get(path)!
    const own = targets.get(path)
    const all = own === undefined ? inside : [own, ...inside]
    const wanted = all.some((target) => !isDirectory(target)) ? all.filter((target) => !isDirectory(target)) : all
    if (!wanted.every((target) => isNewWork(entry, target))) plan.inTheWay.push(path)
    else leaveOut([path, ...inside.map(({ path }) => path)], path, targets, plan)
  }
}

/** Directories in the place of files are replaced when no file is lost with them that S3 does not want to be gone. */
function replaceDirectories (
  targets: Map<string, Target>, plan: DownloadPlan, local: ReadonlyMap<string, Entry>,
  { keepNewer, isDeleting }: Required<DownloadRules>
) {
  const files = [...targets.values()].filter((target) => !isDirectory(target)).map(({ path }) => path)
  const directories = files.filter((path) => local.get(path)?.type === 'directory')
  const removable = new Set(isDeleting ? plan.stale : [])
  for (const [path, inside] of groupsBelow(directories, local.values())) {
    const work = inside.filter((entry) => entry.type !== 'directory' && !removable.has(entry.path))
    if (work.length === 0) plan.inTheWay.push(...inside.map(({ path }) => path).sort().toReversed(), path)
    else if (keepNewer && work.some((entry) => isNewer(entry, targets.get(path)!))) {
      leaveOut([path], path, targets, plan)
    } else {
      const message = 'A directory that is not empty is in its place: move it away and sync again.'
      // A new sandbox begins with what there is: in one that could not begin nothing could be moved away.
      if (keepNewer) {
        plan.kept.push(path)
        plan.hidden.add(path)
      }
      plan[keepNewer ? 'warnings' : 'problems'].push({ path, code: 'DIRECTORY_IN_THE_WAY', message })
      targets.delete(path)
    }
  }
}

function keep (plan: DownloadPlan, path: string, target: Target | undefined) {
  plan.kept.push(path)
  if (target !== undefined) plan.outdated.push(target)
}

function leaveOut (paths: string[], kept: string, targets: Map<string, Target>, plan: DownloadPlan) {
  keep(plan, kept, targets.get(kept))
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
