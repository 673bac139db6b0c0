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
  /** Stored by us where an entry of another type has to be now. Both could not be restored, so this one has to go. */
  replaced: Map<string, SavedEntry>
  problems: Problem[]
}

const plainDirectoryMode = 0o755

/**
 * What an upload has to do.
 * @param wanted the entries of the workspace that are to be stored.
 * @param all all its entries: what is merely ignored was not deleted.
 */
export function planUpload (
  wanted: Map<string, Entry>, all: ReadonlyMap<string, Entry>, remote: Remote, prefix: string
): UploadPlan {
  const plan: UploadPlan = { uploads: [], unchanged: new Map(), stale: new Map(), replaced: new Map(), problems: [] }
  const parents = parentsOf(wanted.keys())
  for (const [path, entry] of wanted) {
    const saved = remote.tracked.get(path)
    if (saved !== undefined && isSame(entry, saved)) {
      plan.unchanged.set(path, saved)
      continue
    }
    const problem = pathProblem(path, prefix)
    if (problem !== undefined) plan.problems.push({ path, ...problem })
    else if (isPlain(entry, parents) && !hasOwnObject(saved)) plan.unchanged.set(path, plainDirectory(entry))
    else plan.uploads.push(entry)
  }
  for (const [path, saved] of remote.tracked) {
    if (saved.own && isReplaced(path, saved, wanted)) plan.replaced.set(path, saved)
    else if (!all.has(path)) plan.stale.set(path, saved)
  }
  return plan
}

/** The keys of what is in it imply that it exists, and its mode is the default. */
function isPlain ({ type, path, mode }: Entry, parents: Set<string>): boolean {
  return type === 'directory' && parents.has(path) && mode === plainDirectoryMode
}

function plainDirectory ({ mode, mtime }: Entry): SavedEntry {
  return { type: 'directory', mode, size: 0, mtime, etag: '', hashes: [], partSize: 0, own: true }
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
