import { Readable } from 'node:stream'
import { promisify } from 'node:util'
import { createGunzip, gzip } from 'node:zlib'
import type { SyncVersion } from '../../schemas/sync.js'
import { noManifest, type Manifest, type Superseded } from './manifest.js'
import { S3Error } from './s3/errors.js'
import { manifestKey, packKey, savedAtOf, sessionKey, versionKey, versionOf, versionsPrefix } from './s3/keys.js'
import { keysInPage } from './s3/list-ranges.js'
import type { ObjectStore } from './s3/object-store.js'
import { keyOf, type SavedEntry } from './transfer/entries.js'
import type { EntryType } from './workspace/workspace.js'

const compress = promisify(gzip)

const format = 1
const letters: Record<EntryType, string> = { file: 'f', directory: 'd', symlink: 'l' }
const typesByLetter = Object.fromEntries(Object.entries(letters).map(([type, letter]) => [letter, type as EntryType]))
/** Anyone who can write to the prefix can write a manifest: one that unpacks to more than this is ignored. */
const maxManifestBytes = 512 * 1024 * 1024

interface Head { savedAt: string, session?: string, entries?: number, packs: string[], pageEnds: string[] }

/** A manifest while it is read; an empty one where there is none. Both promises reject with {@link S3Error}. */
interface ManifestReading { pageEnds: Promise<string[]>, manifest: Promise<Manifest> }

export function readManifest (store: ObjectStore, key: string): ManifestReading {
  const body = readBody(store, key)
  return {
    pageEnds: body.then(async (bytes) => bytes === undefined ? [] : await readPageEnds(bytes)),
    manifest: body.then(async (bytes) => bytes === undefined ? noManifest : await decodeManifest(bytes))
  }
}

/**
 * The current manifest; what is lost of it comes from the latest version's: nothing else tells what the objects of a
 * versioned workspace are.
 */
export function readCurrent (store: ObjectStore): ManifestReading {
  const { pageEnds, manifest } = readManifest(store, manifestKey)
  const withLatest = async (current: Manifest): Promise<Manifest> => {
    if (current.state === 'whole') return current
    const [version] = await listVersions(store)
    if (version === undefined) return current
    const latest = await readManifest(store, versionKey(version.version)).manifest
    if (current.state === 'missing') return latest
    const entries = new Map([...latest.entries, ...current.entries])
    return { ...current, entries, superseded: new Map([...latest.superseded, ...current.superseded]) }
  }
  return { pageEnds, manifest: manifest.then(withLatest) }
}

/**
 * Writes the current manifest.
 * @param copies keeps it also as the one of this version, and as the base of this session. @throws {S3Error}
 */
export async function writeManifest (
  store: ObjectStore, content: Omit<Manifest, 'savedAt' | 'state'>, copies: { version?: string | undefined, base?: string | undefined } = {}
): Promise<void> {
  const bytes = await encodeManifest({ savedAt: new Date().toISOString(), ...content })
  const { version, base } = copies
  const asCurrent = async () => {
    if (version !== undefined) await store.put(versionKey(version), bytes)
    await store.put(manifestKey, bytes)
  }
  await Promise.all([asCurrent(), base !== undefined && store.put(sessionKey(base), bytes)])
}

/** Writes what a session has seen, where the current manifest is not that. @throws {S3Error} */
export async function writeBase (
  store: ObjectStore, session: string, entries: ReadonlyMap<string, SavedEntry>
): Promise<void> {
  const manifest = { savedAt: new Date().toISOString(), session, entries, superseded: noManifest.superseded }
  await store.put(sessionKey(session), await encodeManifest(manifest))
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

/** @returns undefined when there is none. */
async function readBody (store: ObjectStore, key: string): Promise<Buffer | undefined> {
  try {
    return (await store.get(key)).body
  } catch (error) {
    if (error instanceof S3Error && error.status === 404) return
    throw error
  }
}

/** One JSON array per line, behind a head with what is needed first; compressed. See docs/sync-format.md. */
export async function encodeManifest (manifest: Omit<Manifest, 'state'>): Promise<Buffer> {
  const { savedAt, session, entries, superseded } = manifest
  const packs = new Map<string, number>()
  for (const { packed } of entries.values()) if (packed && !packs.has(packed.pack)) packs.set(packed.pack, packs.size)
  const head: Head = {
    savedAt,
    ...session !== undefined && { session },
    packs: [...packs.keys()],
    pageEnds: pageEnds(keysOf(manifest, packs.keys()))
  }
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
function keysOf ({ entries, superseded }: Pick<Manifest, 'entries' | 'superseded'>, packs: Iterable<string>): string[] {
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
 * Reads a manifest. It is a hint, never the truth: what it says about an object counts only while the object has that
 * size and ETag. With a line that is invalid, or missing by the head's count, it is partial.
 */
export async function decodeManifest (bytes: Buffer): Promise<Manifest> {
  const content = { entries: new Map<string, SavedEntry>(), superseded: new Map<string, Superseded>() }
  let head: Head | undefined
  let isWhole = true
  let count = 0
  try {
    for await (const lines of linesOf(bytes)) {
      for (const value of parseLines(lines)) {
        if (head === undefined) head = headOf(value)
        else {
          const kind = addLine(value, head, content)
          if (kind === 'entry') count++
          isWhole &&= kind !== 'invalid'
        }
      }
    }
  } catch {
    isWhole = false
  }
  isWhole &&= head !== undefined && (head.entries === undefined || head.entries === count)
  const { savedAt = noManifest.savedAt, session } = head ?? {}
  return { savedAt, session, ...content, state: isWhole ? 'whole' : 'partial' }
}

/** What is no JSON is undefined. */
function parseLines (lines: string[]): unknown[] {
  try {
    // All at once: parsing each line by itself takes twice as long.
    const values = JSON.parse(`[${lines.join(',')}]`) as unknown[]
    if (values.length === lines.length) return values
  } catch {}
  return lines.map((line) => {
    try {
      return JSON.parse(line) as unknown
    } catch {
      return undefined
    }
  })
}

/** @throws when it is not the head of a manifest. */
function headOf (value: unknown): Head {
  const { modalSandbox, savedAt, session, entries, packs = [], pageEnds = [] } = value as Record<string, unknown>
  const isHead = modalSandbox === format && typeof savedAt === 'string' && !Number.isNaN(Date.parse(savedAt))
  if (!isHead || !isListOf(packs, isHash) || !isListOf(pageEnds, isText)) throw new Error('no manifest')
  return { savedAt, packs, pageEnds, ...typeof session === 'string' && { session }, ...typeof entries === 'number' && { entries } }
}

function isListOf (value: unknown, isOne: (one: unknown) => one is string): value is string[] {
  return Array.isArray(value) && value.every(isOne)
}

function addLine (
  value: unknown, { packs }: Head,
  { entries, superseded }: { entries: Map<string, SavedEntry>, superseded: Map<string, Superseded> }
): 'entry' | 'superseded' | 'invalid' {
  if (isLine(value)) {
    const [path, letter, mode, size, mtime, etag, hashes, partSize, own, key, pack, start] = value
    const type = typesByLetter[letter]!
    const saved: SavedEntry = { type, mode, size, mtime, etag, hashes, partSize, own: own === 1 }
    if (typeof key === 'string') saved.key = key
    if (pack !== undefined && packs[pack] !== undefined) saved.packed = { pack: packs[pack], start: start! }
    entries.set(path, saved)
    return pack === undefined || saved.packed !== undefined ? 'entry' : 'invalid'
  }
  if (!isSupersededLine(value)) return 'invalid'
  const [key, etag, storedAt] = value
  superseded.set(key, { etag, storedAt })
  return 'superseded'
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
