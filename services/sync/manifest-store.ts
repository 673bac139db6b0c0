import { Readable } from 'node:stream'
import { promisify } from 'node:util'
import { createGunzip, gzip } from 'node:zlib'
import type { SyncVersion } from '../../schemas/sync.js'
import { emptyManifest, isFound, type Manifest, type Superseded } from './manifest.js'
import { S3Error } from './s3/errors.js'
import { manifestKey, packKey, savedAtOf, versionKey, versionOf, versionsPrefix } from './s3/keys.js'
import type { ObjectStore } from './s3/object-store.js'
import { keyOf, type SavedEntry } from './transfer/entries.js'
import type { EntryType } from './workspace/workspace.js'

const compress = promisify(gzip)

const format = 1
const letters: Record<EntryType, string> = { file: 'f', directory: 'd', symlink: 'l' }
const typesByLetter = Object.fromEntries(Object.entries(letters).map(([type, letter]) => [letter, type as EntryType]))
/** Anyone who can write to the prefix can write a manifest: one that unpacks to more than this is ignored. */
const maxManifestBytes = 512 * 1024 * 1024

/** A page of S3's list has 1,000 keys; a few objects of others should not make two pages of one. */
const keysInPage = 950

interface Head { savedAt: string, packs: string[], pageEnds: string[] }

/** A manifest while it is read; an empty one where there is none. Both promises reject with {@link S3Error}. */
interface ManifestReading { pageEnds: Promise<string[]>, manifest: Promise<Manifest> }

export function readManifest (store: ObjectStore, key: string): ManifestReading {
  const body = readBody(store, key)
  return { pageEnds: body.then(readPageEnds), manifest: body.then(decodeManifest) }
}

/**
 * The current manifest or, when that is lost, the one of the latest version: nothing else tells what the objects of a
 * versioned workspace are.
 */
export function readCurrent (store: ObjectStore): ManifestReading {
  const { pageEnds, manifest } = readManifest(store, manifestKey)
  const orLatest = async (manifest: Manifest) => {
    if (isFound(manifest)) return manifest
    const [latest] = await listVersions(store)
    return latest === undefined ? manifest : await readManifest(store, versionKey(latest.version)).manifest
  }
  return { pageEnds, manifest: manifest.then(orLatest) }
}

/** Writes the current manifest. @param version also keeps it as the one of this version. @throws {S3Error} */
export async function writeManifest (
  store: ObjectStore, content: Omit<Manifest, 'savedAt'>, version?: string
): Promise<void> {
  const bytes = await encodeManifest({ savedAt: new Date().toISOString(), ...content })
  if (version !== undefined) await store.put(versionKey(version), bytes)
  await store.put(manifestKey, bytes)
}

/** The versions that are kept, newest first. @throws {S3Error} */
export async function listVersions (store: ObjectStore): Promise<SyncVersion[]> {
  const found: SyncVersion[] = []
  for await (const page of store.list(versionsPrefix)) {
    for (const { key } of page) {
      const version = versionOf(key)
      if (version !== undefined) found.push({ version, savedAt: savedAtOf(version) })
    }
  }
  return found.toReversed()
}

/** Empty when there is none. */
async function readBody (store: ObjectStore, key: string): Promise<Buffer> {
  try {
    return (await store.get(key)).body
  } catch (error) {
    if (error instanceof S3Error && error.status === 404) return Buffer.alloc(0)
    throw error
  }
}

/** One JSON array per line, behind a head with what is needed first; compressed. See docs/sync-format.md. */
export async function encodeManifest (manifest: Manifest): Promise<Buffer> {
  const { savedAt, entries, superseded } = manifest
  const packs = new Map<string, number>()
  for (const { packed } of entries.values()) if (packed && !packs.has(packed.pack)) packs.set(packed.pack, packs.size)
  const head: Head = { savedAt, packs: [...packs.keys()], pageEnds: pageEnds(keysOf(manifest, packs.keys())) }
  const lines = [JSON.stringify({ modalSandbox: format, entries: entries.size, ...head })]
  for (const [path, { type, mode, size, mtime, etag, hashes, partSize, own, key = 0, packed }] of entries) {
    const location = packed && [packs.get(packed.pack), packed.start]
    lines.push(JSON.stringify([path, letters[type], mode, size, mtime, etag, hashes, partSize, own ? 1 : 0,
      ...location ? [key, ...location] : key === 0 ? [] : [key]]))
  }
  for (const [key, { etag, storedAt }] of superseded) lines.push(JSON.stringify([key, etag, storedAt]))
  return await compress(lines.join('\n'), { level: 1 })
}

/** Every key under the prefix that the sync knows of. */
function keysOf ({ entries, superseded }: Manifest, packs: Iterable<string>): string[] {
  const keys = [manifestKey, ...superseded.keys()]
  for (const pack of packs) keys.push(packKey(pack))
  for (const [path, saved] of entries) if (saved.etag !== '') keys.push(keyOf(path, saved))
  return keys
}

/** The last keys of the pages that S3's list will have: with them all pages can be requested at once. */
export function pageEnds (keys: string[]): string[] {
  return keys.toSorted().filter((_key, index) => index % keysInPage === keysInPage - 1)
}

/** The page ends that a manifest names, long before all of it is read. They are untrusted input. */
export async function readPageEnds (bytes: Buffer): Promise<string[]> {
  try {
    for await (const [head] of linesOf(bytes)) if (head !== undefined) return headOf(JSON.parse(head)).pageEnds
  } catch {}
  return []
}

/**
 * Reads a manifest. It is a hint, never the truth: an invalid line is skipped, an invalid manifest counts as an empty
 * one, and what it says about an object counts only while the object has that size and ETag.
 */
export async function decodeManifest (bytes: Buffer): Promise<Manifest> {
  const entries = new Map<string, SavedEntry>()
  const superseded = new Map<string, Superseded>()
  let head: Head | undefined
  try {
    for await (const lines of linesOf(bytes)) {
      // All at once: parsing each line by itself takes twice as long.
      for (const value of JSON.parse(`[${lines.join(',')}]`)) {
        if (head === undefined) head = headOf(value)
        else addLine(value, head, { entries, superseded })
      }
    }
  } catch {
    return emptyManifest()
  }
  return head === undefined ? emptyManifest() : { savedAt: head.savedAt, entries, superseded }
}

/** @throws when it is not the head of a manifest. */
function headOf ({ modalSandbox, savedAt, packs = [], pageEnds = [] }: Record<string, unknown>): Head {
  const isHead = modalSandbox === format && typeof savedAt === 'string' && !Number.isNaN(Date.parse(savedAt))
  if (!isHead || !isListOf(packs, isHash) || !isListOf(pageEnds, isText)) throw new Error('no manifest')
  return { savedAt, packs, pageEnds }
}

function isListOf (value: unknown, isOne: (one: unknown) => one is string): value is string[] {
  return Array.isArray(value) && value.every(isOne)
}

function addLine (
  value: unknown, { packs }: Head,
  { entries, superseded }: { entries: Map<string, SavedEntry>, superseded: Map<string, Superseded> }
) {
  if (isLine(value)) {
    const [path, letter, mode, size, mtime, etag, hashes, partSize, own, key, pack, start] = value
    const type = typesByLetter[letter]!
    const saved: SavedEntry = { type, mode, size, mtime, etag, hashes, partSize, own: own === 1 }
    if (typeof key === 'string') saved.key = key
    if (pack !== undefined && packs[pack] !== undefined) saved.packed = { pack: packs[pack], start: start! }
    entries.set(path, saved)
  } else if (isSupersededLine(value)) {
    const [key, etag, storedAt] = value
    superseded.set(key, { etag, storedAt })
  }
}

/** Lines in groups, as they come: a promise for each would take longer than reading it. */
async function * linesOf (bytes: Buffer): AsyncGenerator<string[]> {
  let rest = ''
  let length = 0
  const text = Readable.from([bytes]).pipe(createGunzip({ chunkSize: 64 * 1024 })).setEncoding('utf8')
  for await (const chunk of text as AsyncIterable<string>) {
    length += chunk.length
    if (length > maxManifestBytes) throw new Error('too long')
    const lines = (rest + chunk).split('\n')
    rest = lines.pop()!
    yield lines
  }
  if (rest !== '') yield [rest]
}

/** The last two are a location in a pack, by its index in the head; the key before them is 0 where there is none. */
type Line = [string, string, number, number, string, string, string[], number, number, (string | 0)?, number?, number?]

function isLine (value: unknown): value is Line {
  if (!Array.isArray(value)) return false
  const [path, letter, mode, size, mtime, etag, hashes, partSize, own, key, pack, start] = value
  return typeof path === 'string' && typeof letter === 'string' && Object.hasOwn(typesByLetter, letter) &&
    isCount(mode) && mode <= 0o7777 && isCount(size) && typeof mtime === 'string' && /^-?\d{1,15}(\.\d+)?$/.test(mtime) &&
    typeof etag === 'string' && Array.isArray(hashes) && hashes.every(isHash) && isCount(partSize) && isCount(own) &&
    (key === undefined || key === 0 || typeof key === 'string') &&
    (pack === undefined || (isCount(pack) && isCount(start)))
}

function isText (value: unknown): value is string {
  return typeof value === 'string'
}

function isHash (value: unknown): value is string {
  return typeof value === 'string' && /^[0-9a-f]{64}$/.test(value)
}

function isSupersededLine (value: unknown): value is [string, string, number] {
  return Array.isArray(value) && value.length === 3 && typeof value[0] === 'string' && typeof value[1] === 'string' &&
    isCount(value[2])
}

function isCount (value: unknown): value is number {
  return Number.isSafeInteger(value) && value as number >= 0
}
