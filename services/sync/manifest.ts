import { createGunzip, gzip } from 'node:zlib'
import { promisify } from 'node:util'
import { Readable } from 'node:stream'
import type { Entry, EntryType } from './workspace.js'

const compress = promisify(gzip)

/** What a sync knows about an entry that it has stored or restored. */
export interface Saved {
  type: EntryType
  mode: number
  size: number
  /** Of the entry in the workspace, as its userland told it. */
  mtime: string
  /** Of its object; empty for a directory that needs none. */
  etag: string
  /** SHA-256 of the object's parts; one for a small file, none when unknown. */
  hashes: string[]
  /** Bytes of each part but the last; 0 when it has one. */
  partSize: number
  /** Whether this service put the object there. Only such ones may ever be deleted. */
  own: boolean
  /** Where the object is, when not at the entry's own path: in a save of a versioned workspace. */
  key?: string
  /** Where the content of a small file is besides. */
  packed?: Packed
}

/** A place in a pack, which is named by its hash. It may be gone or hold something else: only a hash proves it. */
export interface Packed { pack: string, start: number }

/** An object as it was seen, and no other one that may take its place. */
export interface Retired { etag: string, storedAt: number }

export interface Manifest {
  savedAt: string
  entries: Map<string, Saved>
  /** By key: objects that the workspace has no more, and that stay because earlier saves may need them. */
  retired: Map<string, Retired>
}

const format = 1
const letters: Record<EntryType, string> = { file: 'f', directory: 'd', symlink: 'l' }
const typesByLetter = Object.fromEntries(Object.entries(letters).map(([type, letter]) => [letter, type as EntryType]))
/** Whoever can write to the prefix can write a manifest: one that is larger than this is not believed. */
const longest = 512 * 1024 * 1024

const never = new Date(0).toISOString()

export function emptyManifest (): Manifest {
  return { savedAt: never, entries: new Map(), retired: new Map() }
}

/** Whether it was written at all, and could be read. */
export function isFound ({ savedAt }: Manifest): boolean {
  return savedAt !== never
}

/** One JSON array a line behind a line that says what it is and which packs there are, compressed. */
export async function encodeManifest ({ savedAt, entries, retired }: Manifest): Promise<Buffer> {
  const packs = new Map<string, number>()
  for (const { packed } of entries.values()) if (packed && !packs.has(packed.pack)) packs.set(packed.pack, packs.size)
  const lines = [JSON.stringify({ modalSandbox: format, savedAt, entries: entries.size, packs: [...packs.keys()] })]
  for (const [path, { type, mode, size, mtime, etag, hashes, partSize, own, key = 0, packed }] of entries) {
    const place = packed && [packs.get(packed.pack), packed.start]
    lines.push(JSON.stringify([path, letters[type], mode, size, mtime, etag, hashes, partSize, own ? 1 : 0,
      ...place ? [key, ...place] : key === 0 ? [] : [key]]))
  }
  for (const [key, { etag, storedAt }] of retired) lines.push(JSON.stringify([key, etag, storedAt]))
  return await compress(lines.join('\n'), { level: 1 })
}

/**
 * Reads a manifest. It is a help, never the truth: a line that makes no sense is left out, a manifest that makes none
 * is an empty one, and what it says about an object counts only while the object is what it says.
 */
export async function decodeManifest (bytes: Buffer): Promise<Manifest> {
  const manifest = emptyManifest()
  let packs: string[] = []
  try {
    for await (const lines of linesOf(bytes)) {
      // All at once: to parse each line by itself takes twice as long.
      for (const value of JSON.parse(`[${lines.join(',')}]`)) {
        if (isFound(manifest)) addLine(value, manifest, packs)
        else ({ savedAt: manifest.savedAt, packs } = headOf(value))
      }
    }
    return manifest
  } catch {
    return emptyManifest()
  }
}

/** @throws when it is no manifest. */
function headOf ({ modalSandbox, savedAt, packs = [] }: Record<string, unknown>): { savedAt: string, packs: string[] } {
  const isHead = modalSandbox === format && typeof savedAt === 'string' && !Number.isNaN(Date.parse(savedAt))
  if (isHead && Array.isArray(packs) && packs.every(isHash)) return { savedAt, packs }
  throw new Error('no manifest')
}

function addLine (value: unknown, { entries, retired }: Manifest, packs: string[]) {
  if (isLine(value)) {
    const [path, letter, mode, size, mtime, etag, hashes, partSize, own, key, pack, start] = value
    const saved: Saved = { type: typesByLetter[letter]!, mode, size, mtime, etag, hashes, partSize, own: own === 1 }
    if (typeof key === 'string') saved.key = key
    if (pack !== undefined && packs[pack] !== undefined) saved.packed = { pack: packs[pack], start: start! }
    entries.set(path, saved)
  } else if (isRetiredLine(value)) {
    const [key, etag, storedAt] = value
    retired.set(key, { etag, storedAt })
  }
}

/** As they come: a promise for each would take longer than to read it. */
async function * linesOf (bytes: Buffer): AsyncGenerator<string[]> {
  let rest = ''
  let length = 0
  const text = Readable.from([bytes]).pipe(createGunzip()).setEncoding('utf8')
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

function isHash (value: unknown): boolean {
  return typeof value === 'string' && /^[0-9a-f]{64}$/.test(value)
}

function isRetiredLine (value: unknown): value is [string, string, number] {
  return Array.isArray(value) && value.length === 3 && typeof value[0] === 'string' && typeof value[1] === 'string' &&
    isCount(value[2])
}

function isCount (value: unknown): value is number {
  return Number.isSafeInteger(value) && value as number >= 0
}

/** Files and symlinks. */
export function countFiles (entries: Map<string, Saved>): number {
  let count = 0
  for (const { type } of entries.values()) if (type !== 'directory') count++
  return count
}

/**
 * Whether two times are the same as far as both are told: busybox' userland knows whole seconds only, and Node sets
 * them as floating point numbers and cuts those to microseconds.
 */
export function sameTime (one: string, other: string): boolean {
  if (one === other) return true
  const [[seconds, fraction = ''], [otherSeconds, otherFraction = '']] = [one.split('.'), other.split('.')]
  if (seconds !== otherSeconds) return false
  if (fraction === '' || otherFraction === '') return true
  return Math.abs(Number(fraction.padEnd(9, '0')) - Number(otherFraction.padEnd(9, '0'))) < 2000
}

/** Whether an entry is as it was when it was stored. */
export function isSame (entry: Entry, saved: Saved): boolean {
  if (entry.type !== saved.type || entry.mode !== saved.mode) return entry.type === 'symlink' && isSameLink(entry, saved)
  return entry.type === 'directory' || (entry.size === saved.size && sameTime(entry.mtime, saved.mtime))
}

/** Linux has no modes of symlinks: whatever a tool says they are does not matter. */
function isSameLink (entry: Entry, saved: Saved): boolean {
  return saved.type === 'symlink' && entry.size === saved.size && sameTime(entry.mtime, saved.mtime)
}
