import { readManifest } from './manifest-store.js'
import { isFarTime, sameTime } from './manifest.js'
import type { Remote } from './remote.js'
import { savedAtOf, sessionKey, versionOfSave } from './s3/keys.js'
import type { ObjectInfo } from './s3/list.js'
import type { ObjectStore } from './s3/object-store.js'
import type { SavedEntry, Target } from './transfer/entries.js'

/** A sandbox that syncs with a prefix, while others may do so, too. */
export interface Session {
  /** Of the sandbox. */
  id: string
  /** When the sandbox was created; milliseconds since 1970. */
  startedAt: number
}

/** An object as S3 lists it, and what the manifest says of it. */
type Seen = Pick<ObjectInfo, 'etag'> & { storedAt: number, saved?: SavedEntry }

/**
 * The base of a three-way merge: what a session's last sync saw under the prefix. What is there now and not in the base
 * was stored by others since.
 */
export interface Base {
  entries: ReadonlyMap<string, SavedEntry>
  /** Whether an object at a path was there already. */
  has (path: string, object: Seen): boolean
}

/** Of a sync that belongs to no session: nothing is news. */
export const everything: Base = { entries: new Map(), has: () => true }

/** Longer than any sandbox of Modal lives; each sync of a session stores its base anew. */
const longestSessionMs = 25 * 60 * 60 * 1000
/** S3 tells times in whole seconds. */
const resolutionMs = 1000

/**
 * Reads what a session saw at its last sync. One that never had any takes all that is older than the session for seen.
 * @throws {S3Error}
 */
export async function readBase (store: ObjectStore, session: Session | undefined, remote: Remote): Promise<Base> {
  if (session === undefined) return everything
  if (remote.session === session.id && remote.manifest === 'whole') return baseOf(remote.recorded)
  if (remote.sessions.has(session.id)) {
    const manifest = await readManifest(store, sessionKey(session.id)).manifest
    if (manifest.state === 'whole') return baseOf(manifest.entries)
  }
  const isOld = (storedAt: number) => storedAt + resolutionMs < session.startedAt
  return { entries: new Map(), has: (_path, { storedAt }) => isOld(storedAt) }
}

function baseOf (entries: ReadonlyMap<string, SavedEntry>): Base {
  const has = (path: string, { etag, saved }: Seen) => {
    const known = entries.get(path)
    return known?.etag === etag && (saved === undefined || isSameSaved(known, saved))
  }
  return { entries, has }
}

/** Whether two bases say the same of a path: an object with the same content may have another mode or time. */
function isSameSaved (one: SavedEntry, other: SavedEntry): boolean {
  if (one.etag !== other.etag || one.type !== other.type) return false
  if (isPlaceholder(one) || isPlaceholder(other)) return true
  if (one.mode !== other.mode && one.type !== 'symlink') return false
  // Of a far time each file system has its own idea.
  return one.type === 'directory' || isFarTime(one.mtime) || isFarTime(other.mtime) || sameTime(one.mtime, other.mtime)
}

/** Of an object at a path where the workspace keeps a newer file: nothing but its ETag is known. */
export function placeholder ({ etag, size }: Target): SavedEntry {
  return { type: 'file', mode: 0, size, mtime: '0', etag, hashes: [], partSize: 0, own: false }
}

function isPlaceholder ({ mode, mtime }: SavedEntry): boolean {
  return mode === 0 && mtime === '0'
}

/** Whether others have stored something at a path since the base; a directory that no object stands for is nothing. */
export function isNews (path: string, remote: Remote, base: Base): boolean {
  const object = objectAt(path, remote)
  return object !== undefined && object.etag !== '' && !base.has(path, object)
}

function objectAt (path: string, { tracked, untracked, storedAt }: Remote): Seen | undefined {
  const saved = tracked.get(path)
  const object = untracked.get(path)
  if (object !== undefined || saved === undefined) return object
  return { etag: saved.etag, storedAt: storedAt.get(path) ?? versionTime(saved), saved }
}

/** When an object of a version was stored, at the earliest. */
function versionTime ({ key = '' }: SavedEntry): number {
  return Date.parse(savedAtOf(versionOfSave(key)))
}

/**
 * What a session has seen when its upload ends: what it leaves `unresolved` is as it was in the base, so that the next
 * upload still knows that others have changed it.
 */
export function nextBase (
  entries: ReadonlyMap<string, SavedEntry>, unresolved: ReadonlySet<string>, base: Base
): Map<string, SavedEntry> {
  const next = new Map([...entries].filter(([path]) => !unresolved.has(path)))
  for (const path of unresolved) {
    const saved = base.entries.get(path)
    if (saved !== undefined) next.set(path, saved)
  }
  return next
}

/** Whether anything is stored that a session has seen. */
export function hasSeenAny (remote: Remote, base: Base): boolean {
  const isUnseen = (path: string) => isNews(path, remote, base) || remote.tracked.get(path)?.etag === ''
  return ![...remote.tracked.keys(), ...remote.untracked.keys()].every(isUnseen)
}

/** Other sessions that may still be using the prefix. */
export function othersOn ({ sessions }: Remote, session: Session | undefined): string[] {
  return [...sessions].filter(([id, storedAt]) => id !== session?.id && !isLongAgo(storedAt)).map(([id]) => id)
}

/** Sessions whose bases nobody needs any more. @param last has had its last upload. */
export function endedSessions ({ sessions }: Remote, last: Session | undefined): string[] {
  return [...sessions].filter(([id, storedAt]) => id === last?.id || isLongAgo(storedAt)).map(([id]) => id)
}

function isLongAgo (storedAt: number): boolean {
  return Date.now() - storedAt > longestSessionMs
}

/** Whether two bases name the same objects. */
export function isSameBase (one: ReadonlyMap<string, SavedEntry>, other: ReadonlyMap<string, SavedEntry>): boolean {
  if (one.size !== other.size) return false
  for (const [path, saved] of one) {
    const known = other.get(path)
    if (known === undefined || !isSameSaved(saved, known)) return false
  }
  return true
}
