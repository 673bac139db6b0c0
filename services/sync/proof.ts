import { mapOrdered } from '../../lib/concurrency.js'
import { isCounted, sameTime } from './manifest.js'
import { withdrawPacks } from './packs.js'
import type { Remote } from './remote.js'
import type { SyncStats } from './report.js'
import { packKey } from './s3/keys.js'
import { groupKeys, listGroups } from './s3/list-ranges.js'
import type { ObjectInfo } from './s3/list.js'
import { fromMetadata } from './s3/metadata.js'
import type { HeadObject, ObjectStore } from './s3/object-store.js'
import { keyOf, type SavedEntry } from './transfer/entries.js'

/** What a server, or a program in a sandbox, says that S3 has stored. Either may lie. */
interface Claim {
  key: string
  etag: string
  size: number
  /** The entry that its object's metadata have to describe; none for a pack. */
  saved?: SavedEntry
  /** What was there before. */
  before?: Pick<ObjectInfo, 'etag' | 'storedAt'> | undefined
}

/** So many requests for single objects cost no more than a page of the list. */
const headsPerPage = 8

/** What an upload has sent. */
interface Sent {
  /** What S3 is believed to have. What it turns out not to have is removed. */
  entries: Map<string, SavedEntry>
  sent: ReadonlyMap<string, SavedEntry>
  packs: { hash: string, size: number, etag: string }[]
}

/** Counts as verified what S3 itself shows as it was sent; all else has failed. @throws {S3Error} */
export async function proveStored (
  store: ObjectStore, { entries, sent, packs }: Sent, remote: Remote, stats: SyncStats
): Promise<void> {
  if (sent.size + packs.length === 0) return
  stats.phase('verify')
  const paths = new Map<Claim, string>()
  for (const [path, saved] of sent) {
    const key = keyOf(path, saved)
    paths.set({ key, etag: saved.etag, size: saved.size, saved, before: objectBefore(remote, path, key) }, path)
  }
  const packClaims = new Map(packs.map(({ hash, size, etag }) => [{ key: packKey(hash), size, etag }, hash]))
  const wrong = await disproved(store, [...paths.keys(), ...packClaims.keys()], knownKeys(entries, remote))
  const lostPacks = [...packClaims].filter(([claim]) => wrong.has(claim)).map(([, hash]) => hash)
  withdrawPacks(entries, new Set(lostPacks))
  for (const [claim, path] of paths) {
    const { type, size, own } = claim.saved!
    if (!wrong.has(claim)) stats.verified += isCounted(path, type) ? 1 : 0
    else {
      stats.retract(path, type, own ? size : 0)
      stats.fail({ path, ...notStored })
      const old = remote.tracked.get(path)
      if (old !== undefined && isStill(old, path, claim, wrong.get(claim))) entries.set(path, old)
      else entries.delete(path)
    }
  }
}

const notStored = { code: 'NOT_STORED', message: 'S3 does not show it as it was sent. Sync again.' }

function isStill (old: SavedEntry, path: string, { key }: Claim, shown: ObjectInfo | undefined): boolean {
  return keyOf(path, old) !== key || (shown?.etag === old.etag && shown.size === old.size)
}

function * knownKeys (entries: ReadonlyMap<string, SavedEntry>, { untracked, superseded, packs }: Remote) {
  for (const [path, saved] of entries) if (saved.etag !== '') yield keyOf(path, saved)
  for (const { key } of untracked.values()) yield key
  yield * superseded.keys()
  for (const pack of packs.keys()) yield packKey(pack)
}

/**
 * Asks S3 what it has: nothing is stored because somebody said so (3.2). Each object has to have the size and the ETag
 * that are claimed, and must not be the one that was there before.
 * @param known other keys under the prefix, which tell how many pages there are between those claimed.
 * @returns the claims that S3 does not confirm, each with what it has there instead. @throws {S3Error}
 */
async function disproved (
  store: ObjectStore, claims: Claim[], known: Iterable<string>
): Promise<Map<Claim, ObjectInfo | undefined>> {
  const byKey = new Map(claims.map((claim) => [claim.key, claim]))
  const groups = groupKeys([...byKey.keys()], known)
  const wrong = new Map<Claim, ObjectInfo | undefined>()
  const doubtful: Claim[] = []
  if (claims.length <= headsPerPage * groups.length) doubtful.push(...claims)
  else {
    for (const claim of claims) wrong.set(claim, undefined)
    for await (const page of listGroups(store, groups)) {
      for (const object of page) {
        const claim = byKey.get(object.key)
        if (claim === undefined) continue
        if (!isAsClaimed(claim, object)) wrong.set(claim, object)
        else {
          wrong.delete(claim)
          if (isAsBefore(claim, object)) doubtful.push(claim)
        }
      }
    }
  }
  const ask = async (claim: Claim) => ({ claim, object: await store.head(claim.key) })
  for await (const { claim, object } of mapOrdered(doubtful, () => 0, ask, store.requestsInFlight, Infinity)) {
    if (!isAsClaimed(claim, object) || !isDescribed(claim, object)) wrong.set(claim, object)
  }
  return wrong
}

/** The object at the key of an entry before it was replaced, as it was listed. */
function objectBefore (
  { tracked, storedAt, untracked, superseded }: Remote, path: string, key: string
): Claim['before'] {
  const [saved, since, other] = [tracked.get(path), storedAt.get(path), untracked.get(path)]
  if (saved !== undefined && since !== undefined && keyOf(path, saved) === key) {
    return { etag: saved.etag, storedAt: since }
  }
  return other?.key === key ? other : superseded.get(key)
}

function isAsClaimed ({ etag, size }: Claim, object: ObjectInfo | undefined): object is ObjectInfo {
  return object !== undefined && etag !== '' && object.etag === etag && object.size === size
}

/** The same content sent again within a second looks so, too. */
function isAsBefore ({ before }: Claim, { etag, storedAt }: ObjectInfo): boolean {
  return before !== undefined && before.etag === etag && before.storedAt === storedAt
}

/** What was sent differs from what was there in time or mode at least, or there would be no reason to send it. */
function isDescribed ({ key, saved }: Claim, object: HeadObject | undefined): boolean {
  if (saved === undefined) return true
  const { mode, mtime } = fromMetadata(key, object?.metadata ?? {})
  const isExact = object?.metadata['mtime'] === saved.mtime
  return (isExact || (mtime !== undefined && sameTime(mtime, saved.mtime))) && mode === saved.mode
}
