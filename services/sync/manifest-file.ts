import { createGunzip, gzip } from 'node:zlib'
import { promisify } from 'node:util'
import { Readable } from 'node:stream'
import { emptyManifest, type Manifest, type Superseded } from './manifest.js'
import { manifestKey, packKey } from './s3/keys.js'
import { keyOf, type SavedEntry } from './transfer/entries.js'
import type { EntryType } from './workspace/workspace.js'

const compress = promisify(gzip)

const format = 1
const letters: Record<EntryType, string> = { file: 'f', directory: 'd', symlink: 'l' }
const typesByLetter = Object.fromEntries(Object.entries(letters).map(([type, letter]) => [letter, type as EntryType]))
/** Whoever can write to the prefix can write a manifest: one that is larger than this is not believed. */
const longest = 512 * 1024 * 1024

/** A page of S3's list has 1,000 keys; what others have put there, too, should not make two of one. */
const keysInPage = 950

interface Head { savedAt: string, packs: string[], pageEnds: string[] }

/** One JSON array a line behind a line that says what it is and what is good to know first, compressed. */
export async function encodeManifest (manifest: Manifest): Promise<Buffer> {
  const { savedAt, entries, superseded: retired } = manifest
  const packs = new Map<string, number>()
  for (const { packed } of entries.values()) if (packed && !packs.has(packed.pack)) packs.set(packed.pack, packs.size)
  const head: Head = { savedAt, packs: [...packs.keys()], pageEnds: pageEnds(keysOf(manifest, packs.keys())) }
  const lines = [JSON.stringify({ modalSandbox: format, entries: entries.size, ...head })]
  for (const [path, { type, mode, size, mtime, etag, hashes, partSize, own, key = 0, packed }] of entries) {
    const place = packed && [packs.get(packed.pack), packed.start]
    lines.push(JSON.stringify([path, letters[type], mode, size, mtime, etag, hashes, partSize, own ? 1 : 0,
      ...place ? [key, ...place] : key === 0 ? [] : [key]]))
  }
  for (const [key, { etag, storedAt }] of retired) lines.push(JSON.stringify([key, etag, storedAt]))
  return await compress(lines.join('\n'), { level: 1 })
}

/** Everything that is under the prefix as far as the sync knows. */
function keysOf ({ entries, superseded: retired }: Manifest, packs: Iterable<string>): string[] {
  const keys = [manifestKey, ...retired.keys()]
  for (const pack of packs) keys.push(packKey(pack))
  for (const [path, saved] of entries) if (saved.etag !== '') keys.push(keyOf(path, saved))
  return keys
}

/** The last keys of the pages that S3's list will have: who knows them first can ask for all side by side. */
export function pageEnds (keys: string[]): string[] {
  return keys.toSorted().filter((_key, index) => index % keysInPage === keysInPage - 1)
}

/** Those that a manifest tells, long before all of it is read. They are anybody's text. */
export async function readPageEnds (bytes: Buffer): Promise<string[]> {
  try {
    for await (const [head] of linesOf(bytes)) if (head !== undefined) return headOf(JSON.parse(head)).pageEnds
  } catch {}
  return []
}

/**
 * Reads a manifest. It is a help, never the truth: a line that makes no sense is left out, a manifest that makes none
 * is an empty one, and what it says about an object counts only while the object is what it says.
 */
export async function decodeManifest (bytes: Buffer): Promise<Manifest> {
  const [entries, retired] = [new Map<string, SavedEntry>(), new Map<string, Superseded>()]
  let head: Head | undefined
  try {
    for await (const lines of linesOf(bytes)) {
      // All at once: to parse each line by itself takes twice as long.
      for (const value of JSON.parse(`[${lines.join(',')}]`)) {
        if (head === undefined) head = headOf(value)
        else addLine(value, head, entries, retired)
      }
    }
  } catch {
    return emptyManifest()
  }
  return head === undefined ? emptyManifest() : { savedAt: head.savedAt, entries, superseded: retired }
}

/** @throws when it is no manifest. */
function headOf ({ modalSandbox, savedAt, packs = [], pageEnds = [] }: Record<string, unknown>): Head {
  const isHead = modalSandbox === format && typeof savedAt === 'string' && !Number.isNaN(Date.parse(savedAt))
  if (!isHead || !isListOf(packs, isHash) || !isListOf(pageEnds, isText)) throw new Error('no manifest')
  return { savedAt, packs, pageEnds }
}

function isListOf (value: unknown, isOne: (one: unknown) => one is string): value is string[] {
  return Array.isArray(value) && value.every(isOne)
}

function addLine (value: unknown, { packs }: Head, entries: Map<string, SavedEntry>, retired: Map<string, Superseded>) {
  if (isLine(value)) {
    const [path, letter, mode, size, mtime, etag, hashes, partSize, own, key, pack, start] = value
    const saved: SavedEntry = { type: typesByLetter[letter]!, mode, size, mtime, etag, hashes, partSize, own: own === 1 }
    if (typeof key === 'string') saved.key = key
    if (pack !== undefined && packs[pack] !== undefined) saved.packed = { pack: packs[pack], start: start! }
    entries.set(path, saved)
  } else if (isRetiredLine(value)) {
    const [key, etag, storedAt] = value
    retired.set(key, { etag, storedAt })
  }
}

/** As they come: a promise for each would take longer than to read it, and so would many small chunks. */
async function * linesOf (bytes: Buffer): AsyncGenerator<string[]> {
  let rest = ''
  let length = 0
  const text = Readable.from([bytes]).pipe(createGunzip({ chunkSize: 64 * 1024 })).setEncoding('utf8')
  for await (const chunk of text as AsyncIterable<string>) {
    length += chunk.length
    if (length > longest) throw new Error('too long')
    const lines = (rest + chunk).split('\n')
    rest = lines.pop()!
    yield lines
  }
  if (rest !== '') yield [rest]
}

/** The last two are a place in a pack, by its number in the head; before them is 0 where there is no key. */
type Line = [string, string, number, number, string, string, string[], number, number, (string | 0)?, number?, number?]

function isLine (value: unknown): value is Line {
  if (!Array.isArray(value)) return false
  const [path, letter, mode, size, mtime, etag, hashes, partSize, own, key, pack, start] = value
  return typeof path === 'string' && typeof letter === 'string' && Object.hasOwn(typesByLetter, letter) &&
    isCount(mode) && mode <= 0o7777 && isCount(size) && typeof mtime === 'string' && /^\d+(\.\d+)?$/.test(mtime) &&
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

function isRetiredLine (value: unknown): value is [string, string, number] {
  return Array.isArray(value) && value.length === 3 && typeof value[0] === 'string' && typeof value[1] === 'string' &&
    isCount(value[2])
}

function isCount (value: unknown): value is number {
  return Number.isSafeInteger(value) && value as number >= 0
}
