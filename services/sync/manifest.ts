import { claudeDirectory } from '../modal/names.js'
import type { SavedEntry } from './transfer/entries.js'
import { wholeSeconds } from './workspace/stat-records.js'
import type { Entry, EntryType } from './workspace/workspace.js'

/** An object as it was listed, and not another one that may take its place. */
export interface Superseded { etag: string, storedAt: number }

export interface Manifest {
  /** Whether all of it could be read. What is `partial` never says that something is not there. */
  state: 'missing' | 'partial' | 'whole'
  savedAt: string
  /** The sandbox that wrote it and has seen all that it names; missing when others had stored what it has not seen. */
  session?: string | undefined
  entries: ReadonlyMap<string, SavedEntry>
  /** By key: objects that are not part of the workspace any more, but that earlier versions may need. */
  superseded: ReadonlyMap<string, Superseded>
}

const never = new Date(0).toISOString()

export const noManifest: Manifest = { state: 'missing', savedAt: never, entries: new Map(), superseded: new Map() }

/** Whether reports count an entry: a file or symlink, and nothing that the Claude CLI keeps beside the user's. */
export function isCounted (path: string, type: EntryType): boolean {
  return type !== 'directory' && !path.startsWith(`${claudeDirectory}/`)
}

export function countFiles (entries: Iterable<[path: string, { type: EntryType }]>): number {
  let count = 0
  for (const [path, { type }] of entries) if (isCounted(path, type)) count++
  return count
}

/**
 * Whether two times are the same, as far as both are known: busybox and some file systems know whole seconds only, and
 * Node.js sets times as floating point numbers, which it truncates to microseconds.
 */
export function sameTime (one: string, other: string): boolean {
  if (one === other) return true
  const isExact = one.includes('.') && other.includes('.')
  if (!isExact) return wholeSeconds(one) === wholeSeconds(other)
  const difference = nanoseconds(one) - nanoseconds(other)
  // A floating point number of a far time is coarser.
  const tolerance = Math.abs(Number(one)) < 2 ** 32 ? 2000n : 6000n
  return -tolerance < difference && difference < tolerance
}

/** Outside of what every file system holds. */
export function isFarTime (mtime: string): boolean {
  return Number(mtime) < -(2 ** 31) || Number(mtime) >= 2 ** 31
}

/** A decimal number of seconds; more than nine decimals do not count. */
function nanoseconds (time: string): bigint {
  const [seconds, fraction = ''] = time.split('.') as [string, string?]
  const all = BigInt(seconds.replace('-', '') + fraction.padEnd(9, '0').slice(0, 9))
  return time.startsWith('-') ? -all : all
}

/** Whether an entry is as it was when it was stored: the decision behind every upload and download. */
export function isSame (entry: Entry, saved: SavedEntry): boolean {
  if (entry.type !== saved.type || entry.mode !== saved.mode) return entry.type === 'symlink' && isSameLink(entry, saved)
  return entry.type === 'directory' || (entry.size === saved.size && sameTime(entry.mtime, saved.mtime))
}

/** Linux has no modes for symlinks, whatever a tool reports. */
function isSameLink (entry: Entry, saved: SavedEntry): boolean {
  return saved.type === 'symlink' && entry.size === saved.size && sameTime(entry.mtime, saved.mtime)
}
