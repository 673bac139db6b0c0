import { sameTime } from './manifest.js'
import { isPart } from './s3/keys.js'
import type { DownloadOutcome } from './transfer/outcome.js'
import type { SavedEntry } from './transfer/entries.js'
import type { Entry, Workspace } from './workspace/workspace.js'

/**
 * Proves that entries are in the workspace as they were stored (3.5): there, with their type, size and mode, and with
 * their content where one hash covers it. Of larger files every part was compared on its way.
 * @returns what is wrong, by path, how many files and symlinks are right, and what a lost transfer agent has left.
 */
export async function verify (
  workspace: Workspace, { written, verifiedInPlace }: Pick<DownloadOutcome, 'written' | 'verifiedInPlace'>,
  unchanged: ReadonlyMap<string, SavedEntry>
): Promise<{ wrong: Map<string, string>, count: number, leftovers: string[] }> {
  const wrong = new Map<string, string>()
  if (written.size === 0 && unchanged.size === 0) return { wrong, count: 0, leftovers: [] }
  const hashed = new Set([...written]
    .filter(([path, { type, hashes }]) => type === 'file' && hashes.length === 1 && !verifiedInPlace.has(path))
    .map(([path]) => path))
  const [{ entries }, hashes] = await Promise.all([workspace.list(), workspace.hash([...hashed])])
  let count = 0
  for (const [path, saved] of [...unchanged, ...written]) {
    const problem = difference(entries.get(path), saved) ??
      (hashed.has(path) ? contentProblem(saved, hashes.get(path)) : undefined)
    if (problem !== undefined) wrong.set(path, problem)
    else if (saved.type !== 'directory') count++
  }
  return { wrong, count, leftovers: [...entries.keys()].filter(isPart) }
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
  if (hash === undefined) return 'It can not be read.'
  if (hash !== hashes[0]) return 'Its content is not what S3 has.'
}
