import { parentsOf } from './keys.js'
import { isSame, type Saved } from './manifest.js'
import { keyOf, type Remote } from './remote.js'
import type { Entry, Problem } from './workspace.js'

export interface Target {
  path: string
  key: string
  etag: string
  size: number
  storedAt?: number
  /** What a manifest says; the object itself says it otherwise. */
  saved?: Saved
}

export interface DownloadPlan {
  directories: Target[]
  /** Files and symlinks. */
  downloads: Target[]
  /** In the workspace already, as they are. */
  unchanged: Map<string, Saved>
  /** In the workspace, and changed there since they were stored. */
  kept: string[]
  /** Files and symlinks that stand where a directory has to be, by path. */
  inTheWay: string[]
  /** In the workspace as they were stored, and gone from S3 since. */
  stale: string[]
  problems: Problem[]
}

/**
 * What a download has to do.
 * @param keepNewer leaves files alone that are younger in the workspace than in S3: work that was never stored.
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
  for (const [path, saved] of remote.known) {
    targets.set(path, { path, key: keyOf(path, saved), etag: saved.etag, size: saved.size, saved })
  }
  for (const [path, object] of remote.foreign) targets.set(path, { path, ...object })
  const parents = parentsOf(targets.keys())
  for (const path of parents) {
    const existing = local.get(path)
    if (existing !== undefined && existing.type !== 'directory') plan.inTheWay.push(path)
  }
  for (const target of targets.values()) place(target, plan, parents, local, keepNewer)
  for (const [path, saved] of remote.missing) {
    const entry = local.get(path)
    if (entry !== undefined && isSame(entry, saved)) plan.stale.push(path)
  }
  return plan
}

function place (
  target: Target, plan: DownloadPlan, parents: Set<string>, local: ReadonlyMap<string, Entry>, keepNewer: boolean
) {
  const { path, key, saved } = target
  const isDirectory = saved?.type === 'directory' || key.endsWith('/')
  if (!isDirectory && parents.has(path)) {
    plan.problems.push({ path, code: 'KEY_CONFLICT', message: 'Other keys need a directory of this name.' })
    return
  }
  const entry = local.get(path)
  if (entry !== undefined && saved !== undefined && isSame(entry, saved)) plan.unchanged.set(path, saved)
  else if (isDirectory) {
    if (entry !== undefined && entry.type !== 'directory' && !parents.has(path)) plan.inTheWay.push(path)
    plan.directories.push(target)
  } else if (entry !== undefined && keepNewer && isNewer(entry, target)) plan.kept.push(path)
  else plan.downloads.push(target)
}

/** It was changed after what is in S3 was, or was put there. */
function isNewer (entry: Entry, { saved, storedAt = 0 }: Target): boolean {
  return entry.type !== 'directory' && Number(entry.mtime) > (saved === undefined ? storedAt / 1000 : Number(saved.mtime))
}
