import { claudeDirectory } from '../modal/names.js'
import { everything, isNews, type Base } from './base.js'
import { isSame } from './manifest.js'
import type { Remote } from './remote.js'
import { parentsOf, pathProblem } from './s3/keys.js'
import type { SavedEntry } from './transfer/entries.js'
import type { Entry, Problem } from './workspace/workspace.js'

export interface UploadPlan {
  /** To be stored, directories included. */
  uploads: Entry[]
  /** In S3 already, as they are in the workspace. */
  unchanged: Map<string, SavedEntry>
  /** In S3, and not in the workspace any more. */
  stale: Map<string, SavedEntry>
  /** In the place of an entry of another type. Both could not be restored, and the workspace had this one: it goes. */
  replaced: Map<string, SavedEntry>
  /** Files and symlinks at, above or below whose paths others have stored something since the base. */
  contested: Entry[]
  /** What others have stored and a manifest knows: it stays as it is. */
  theirs: Map<string, SavedEntry>
  /** Paths of which S3 has, when the upload ends, what the workspace has not seen. */
  unresolved: Set<string>
  problems: Problem[]
  warnings: Problem[]
}

const plainDirectoryMode = 0o755

/**
 * What an upload has to do.
 * @param wanted the entries of the workspace that are to be stored.
 * @param all all its entries: what is merely ignored was not deleted.
 */
export function planUpload (
  wanted: Map<string, Entry>, all: ReadonlyMap<string, Entry>, remote: Remote, prefix: string, base: Base = everything
): UploadPlan {
  const plan: UploadPlan = {
    uploads: [],
    unchanged: new Map(),
    stale: new Map(),
    replaced: new Map(),
    contested: [],
    theirs: new Map(),
    unresolved: new Set(),
    problems: [],
    warnings: []
  }
  const inS3 = [...remote.tracked.keys(), ...remote.untracked.keys()]
  const news = new Set(inS3.filter((path) => isNews(path, remote, base)))
  const newsParents = parentsOf(news)
  const parents = parentsOf(wanted.keys())
  const theirParents = parentsOf(remote.untracked.keys())
  for (const [path, entry] of wanted) {
    const saved = remote.tracked.get(path)
    if (entry.type !== 'directory' && theirParents.has(path)) {
      plan.problems.push({ path, ...conflict })
      continue
    }
    // What an earlier version has elsewhere does not count while there is an object of others at the path.
    const isHidden = saved?.key !== undefined && remote.untracked.has(path)
    if (saved !== undefined && !isHidden && isSame(entry, saved)) {
      // Times are no proof of what others have stored: programs set them, and some systems know whole seconds only.
      if (news.has(path) && isMerged(entry) && saved.hashes.length === 1) plan.contested.push(entry)
      else plan.unchanged.set(path, saved)
      continue
    }
    const problem = pathProblem(path, prefix)
    if (problem !== undefined) plan.problems.push({ path, ...problem })
    else if (entry.type === 'directory' && remote.unusable.has(path)) {
      plan.unchanged.set(path, plainDirectory(entry))
      plan.warnings.push({ path: `${path}/`, ...unusable })
    } else if (isMerged(entry) && (news.has(path) || newsParents.has(path))) plan.contested.push(entry)
    else if (saved !== undefined && isTheirMode(entry, saved, base.entries.get(path))) plan.theirs.set(path, saved)
    else if (isPlain(entry, parents) && !hasOwnObject(saved)) plan.unchanged.set(path, plainDirectory(entry))
    else plan.uploads.push(entry)
  }
  const contested = new Set(plan.contested.map(({ path }) => path))
  const isContested = (path: string) => [path, ...parentsOf([path])].some((one) => contested.has(one))
  for (const [path, saved] of remote.tracked) {
    const stays = news.has(path) || plan.theirs.has(path) || (contested.size > 0 && isContested(path))
    if (isReplaced(path, saved, wanted)) {
      if (!stays) plan.replaced.set(path, saved)
      else if (wanted.get(path)?.type === 'directory') plan.warnings.push({ path, ...hiddenByDirectory })
    } else if (!stays && !all.has(path)) plan.stale.set(path, saved)
    if (stays && !plan.unchanged.has(path)) plan.theirs.set(path, saved)
  }
  for (const path of plan.theirs.keys()) plan.unresolved.add(path)
  return plan
}

const conflict = {
  code: 'KEY_CONFLICT',
  message: 'Others have put objects below this name that this workspace has never had: move them, or rename the file.'
}

const hiddenByDirectory = {
  code: 'CONFLICT',
  message: 'Others have stored a file in the place of this directory since this sandbox last synced: it stays in S3 only.'
}

const unusable = {
  code: 'DIRECTORY_WITH_CONTENT',
  message: 'Its object in S3 is of others and stays as it is, so the mode of the directory is not stored.'
}

/** Those of them stay in whose place, or below or above whose names, something was not stored. */
export function replacedFor (plan: UploadPlan, hasFailed: (path: string) => boolean): Map<string, SavedEntry> {
  if (plan.replaced.size === 0) return plan.replaced
  const failedInside = parentsOf(plan.uploads.map(({ path }) => path).filter(hasFailed))
  const isReplaced = (path: string) => !failedInside.has(path) && ![path, ...parentsOf([path])].some(hasFailed)
  return new Map([...plan.replaced].filter(([path]) => isReplaced(path)))
}

/** The CLI counts and caches in a file of its own, which no two sandboxes have alike: there the last one wins. */
function isMerged ({ type, path }: Entry): boolean {
  return type !== 'directory' && path !== `${claudeDirectory}/.claude.json`
}

/** The keys of what is in it imply that it exists, and its mode is the default. */
function isPlain ({ type, path, mode }: Entry, parents: Set<string>): boolean {
  return type === 'directory' && parents.has(path) && mode === plainDirectoryMode
}

function plainDirectory ({ mode, mtime }: Entry): SavedEntry {
  return { type: 'directory', mode, size: 0, mtime, etag: '', hashes: [], partSize: 0, own: true }
}

/** A directory whose mode others have changed, and the workspace has not. */
function isTheirMode (entry: Entry, saved: SavedEntry, known: SavedEntry | undefined): boolean {
  return entry.type === 'directory' && saved.type === 'directory' && known !== undefined && isSame(entry, known)
}

/** A directory that was stored with a mode of its own has to be stored again when it has the default now. */
function hasOwnObject (saved: SavedEntry | undefined): boolean {
  return saved?.type === 'directory' && saved.etag !== ''
}

function isReplaced (path: string, saved: SavedEntry, wanted: ReadonlyMap<string, Entry>): boolean {
  const entry = wanted.get(path)
  if (entry !== undefined) return saved.etag !== '' && (entry.type === 'directory') !== (saved.type === 'directory')
  return [...parentsOf([path])].some((parent) => (wanted.get(parent)?.type ?? 'directory') !== 'directory')
}
