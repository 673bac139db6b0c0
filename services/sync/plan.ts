import type { Remote } from './remote.js'
import { pathProblem } from './keys.js'
import { sameTime, type Saved } from './manifest.js'
import type { Entry, Problem } from './workspace.js'

export interface UploadPlan {
  /** To be stored, directories too. */
  uploads: Entry[]
  /** Stored already, as they are. */
  unchanged: Map<string, Saved>
  /** Stored by us once, and not in the workspace any more. */
  stale: Map<string, Saved>
  /** Stored by us where something of another kind has to be now: it has to go, or nobody could restore both. */
  replaced: Map<string, Saved>
  problems: Problem[]
}

const plainDirectoryMode = 0o755

/**
 * What an upload has to do.
 * @param wanted what of the workspace is to be stored.
 * @param all everything in it: what is merely ignored is not gone.
 */
export function planUpload (
  wanted: Map<string, Entry>, all: ReadonlyMap<string, Entry>, remote: Remote, prefix: string
): UploadPlan {
  const plan: UploadPlan = { uploads: [], unchanged: new Map(), stale: new Map(), replaced: new Map(), problems: [] }
  const parents = parentsOf(wanted.keys())
  for (const [path, entry] of wanted) {
    const problem = pathProblem(path, prefix)
    const saved = remote.known.get(path)
    if (problem !== undefined) plan.problems.push({ path, ...problem })
    else if (saved !== undefined && isSame(entry, saved)) plan.unchanged.set(path, saved)
    else if (isPlain(entry, parents) && !hasOwnObject(saved)) plan.unchanged.set(path, plainDirectory(entry))
    else plan.uploads.push(entry)
  }
  for (const [path, saved] of remote.known) {
    if (saved.own && saved.key === undefined && isReplaced(path, saved, wanted)) plan.replaced.set(path, saved)
    else if (!all.has(path)) plan.stale.set(path, saved)
  }
  return plan
}

/** The keys of what is in it say that it is there, and its mode goes without saying. */
function isPlain ({ type, path, mode }: Entry, parents: Set<string>): boolean {
  return type === 'directory' && parents.has(path) && mode === plainDirectoryMode
}

function plainDirectory ({ mode, mtime }: Entry): Saved {
  return { type: 'directory', mode, size: 0, mtime, etag: '', hashes: [], partSize: 0, own: true }
}

/** A directory that was stored with its mode has to be stored again when it is an ordinary one now. */
function hasOwnObject (saved: Saved | undefined): boolean {
  return saved?.type === 'directory' && saved.etag !== ''
}

function isReplaced (path: string, saved: Saved, wanted: ReadonlyMap<string, Entry>): boolean {
  const entry = wanted.get(path)
  if (entry !== undefined) return saved.etag !== '' && (entry.type === 'directory') !== (saved.type === 'directory')
  return [...parentsOf([path])].some((parent) => (wanted.get(parent)?.type ?? 'directory') !== 'directory')
}

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
    const key = saved.key ?? (saved.type === 'directory' ? `${path}/` : path)
    targets.set(path, { path, key, etag: saved.etag, size: saved.size, saved })
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

export function isSame (entry: Entry, saved: Saved): boolean {
  if (entry.type !== saved.type || entry.mode !== saved.mode) return entry.type === 'symlink' && isSameLink(entry, saved)
  return entry.type === 'directory' || (entry.size === saved.size && sameTime(entry.mtime, saved.mtime))
}

/** Linux has no modes of symlinks: whatever a tool says they are does not matter. */
function isSameLink (entry: Entry, saved: Saved): boolean {
  return saved.type === 'symlink' && entry.size === saved.size && sameTime(entry.mtime, saved.mtime)
}

/** All directories on the way to some paths. */
function parentsOf (paths: Iterable<string>): Set<string> {
  const parents = new Set<string>()
  for (const path of paths) {
    for (let end = path.lastIndexOf('/'); end > 0; end = path.lastIndexOf('/', end - 1)) {
      const parent = path.slice(0, end)
      if (parents.has(parent)) break
      parents.add(parent)
    }
  }
  return parents
}
