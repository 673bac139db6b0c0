import { EndOfStream, type ByteReader } from '../../../lib/byte-reader.js'
import { lostReason, scriptExit } from './scripts.js'
import { WorkspaceLost, type EntryType, type Entry, type Listing, type Problem } from './workspace.js'

/** What `stat` says about a name; `validName` is false for one that is not UTF-8. */
export interface StatRecord extends Omit<Entry, 'type'> {
  type: EntryType | 'special'
  validName: boolean
  /** How many names it has. */
  links: number
  /** Of 512 bytes each, what it takes of the disk. */
  blocks: number
}

const types: Record<number, EntryType> = { 0o100000: 'file', 0o040000: 'directory', 0o120000: 'symlink' }

/**
 * Reads records as the scripts print them.
 * @returns what the line that ends them says besides. @throws {EndOfStream}
 */
export async function readStatRecords (reader: ByteReader, onRecord: (record: StatRecord) => void): Promise<string> {
  let last = ''
  await reader.parse((bytes) => {
    // One character per byte: searching and cutting a string is faster than asking the buffer about each record.
    const text = bytes.toString('latin1')
    for (let taken = 0; ;) {
      const nameEnd = text.indexOf('//', taken)
      const end = nameEnd === -1 ? -1 : text.indexOf('\n', nameEnd)
      if (end === -1) return { taken, done: false }
      if (nameEnd === taken) {
        last = text.slice(nameEnd + 2, end)
        return { taken: end + 1, done: true }
      }
      onRecord(parseRecord(text.slice(taken, nameEnd), text.slice(nameEnd + 2, end)))
      taken = end + 1
    }
  })
  return last
}

/** Half of a smaller file may be missing for the reasons of a file system. */
const worthHoles = 1024 * 1024

const hardLinks = (count: number) =>
  ({ code: 'HARD_LINKS', message: `${others(count)} hard links: each name is stored, and comes back, as a file of its own.` })

const holes = (count: number) =>
  ({ code: 'SPARSE', message: `${others(count)} holes, which come back as zeros that take space.` })

function others (count: number): string {
  return count === 1 ? 'The file has' : `This and ${count - 1} other ${count === 2 ? 'file has' : 'files have'}`
}

/** Reads what `list.sh` prints. @throws {WorkspaceLost} when that is not all there is. */
export async function readListing (reader: ByteReader): Promise<Listing> {
  const listing: Listing = { entries: new Map(), problems: [], warnings: [], special: 0, missing: false }
  const linked: string[] = []
  const sparse: string[] = []
  try {
    const exitCode = Number(await readStatRecords(reader, (record) => {
      if (record.path === '.') return
      if (!record.validName) listing.problems.push(badName(record.path))
      else if (isEntry(record)) listing.entries.set(record.path, toEntry(record))
      else listing.special++
      if (record.type !== 'file') return
      if (record.links > 1) linked.push(record.path)
      if (record.size >= worthHoles && record.blocks * 1024 <= record.size) sparse.push(record.path)
    }))
    if (linked.length > 0) listing.warnings.push({ path: linked[0]!, ...hardLinks(linked.length) })
    if (sparse.length > 0) listing.warnings.push({ path: sparse[0]!, ...holes(sparse.length) })
    const complaints = (await reader.until('\n//\n'))?.toString() ?? ''
    if (exitCode === scriptExit.noRoot) return { ...listing, missing: true }
    // With 1, parts of it may not be read, or something was removed in the meantime.
    if (exitCode > 1) throw lostReason(exitCode, complaints)
    for (const [, path] of complaints.matchAll(/^find: '?\.\/(.*?)'?: Permission denied$/gm)) {
      listing.problems.push({ path: path!, code: 'UNREADABLE', message: 'The directory may not be read.' })
    }
    return listing
  } catch (error) {
    throw error instanceof EndOfStream ? new WorkspaceLost('the listing of the workspace was cut off', error) : error
  }
}

/** @param name with one character per byte. */
function parseRecord (name: string, fields: string): StatRecord {
  const bare = name.startsWith('./') ? name.slice(2) : name
  const bytes = isAscii(bare) ? undefined : Buffer.from(bare, 'latin1')
  const path = bytes?.toString() ?? bare
  const [raw = '', size, mtime = '', ctime = '', uid, gid, links, blocks] = fields.split(' ')
  const bits = parseInt(raw, 16)
  const type = types[bits & 0o170000] ?? 'special'
  return knownTimes({
    path,
    type,
    mode: bits & 0o7777,
    size: type === 'directory' ? 0 : Number(size),
    mtime,
    ctime,
    uid: Number(uid),
    gid: Number(gid),
    links: Number(links),
    blocks: Number(blocks),
    validName: bytes === undefined || !path.includes('\ufffd') || Buffer.from(path).equals(bytes)
  })
}

function isAscii (text: string): boolean {
  return !/[^\0-\x7f]/.test(text)
}

export function isEntry (record: StatRecord): record is StatRecord & Entry {
  return record.type !== 'special'
}

export function toEntry ({ path, type, mode, size, mtime, ctime, uid, gid }: StatRecord): Entry {
  return { path, type: type as Entry['type'], mode, size, mtime, ctime, uid, gid }
}

type FileState = Pick<StatRecord, 'type' | 'size' | 'mtime' | 'ctime'>

/**
 * Whether a file did not change between two records of it. A change that is younger than the resolution of the file
 * system's clock may be followed by another one that leaves no trace: the file has to be read again later.
 * @param now seconds since 1970 at the first record, by the clock of the file system.
 */
export function isUnchanged (before: FileState | undefined, after: FileState | undefined, now: number): boolean {
  if (before === undefined || after === undefined) return false
  if (before.type !== after.type || before.size !== after.size) return false
  const youngest = before.ctime.includes('.') ? 0.02 : 2
  return before.mtime === after.mtime && before.ctime === after.ctime && now - Number(before.ctime) >= youngest
}

/** Nanoseconds as GNU's stat writes them. */
export function seconds (nanoseconds: bigint): string {
  const [sign, all] = nanoseconds < 0n ? ['-', -nanoseconds] : ['', nanoseconds]
  return `${sign}${all / 1_000_000_000n}.${String(all % 1_000_000_000n).padStart(9, '0')}`
}

/**
 * Node.js sets times no finer than microseconds, and truncates a number that may lie just below the one it means. A
 * negative number is the present to it; as text it is what it is.
 */
export function settableTime (mtime: string): number | string {
  const [seconds, fraction] = mtime.split('.')
  const time = fraction === undefined ? mtime : `${seconds}.${fraction.padEnd(6, '0').slice(0, 6)}5`
  return time.startsWith('-') ? time : Number(time)
}

/** The second that a time is in; a floating point number would round some to the next one. */
export function wholeSeconds (time: string): number {
  const [seconds, fraction = ''] = time.split('.')
  return Number(seconds) - (time.startsWith('-') && /[1-9]/.test(fraction) ? 1 : 0)
}

/** Times of a file system that tells whole seconds only: it is not known that their fractions are zero. */
export function knownTimes<T extends Pick<Entry, 'mtime' | 'ctime'>> (entry: T): T {
  const { mtime, ctime } = entry
  if (!mtime.endsWith('.000000000') || !ctime.endsWith('.000000000')) return entry
  return { ...entry, mtime: mtime.slice(0, -10), ctime: ctime.slice(0, -10) }
}

export const changed = (path: string): Problem => ({ path, code: 'CHANGED', message: 'The file keeps changing while it is read.' })
export const gone = (path: string): Problem => ({ path, code: 'GONE', message: 'The file was removed during the sync.' })
export const unreadable = (path: string): Problem => ({ path, code: 'UNREADABLE', message: 'The file may not be read.' })
export const badName = (path: string): Problem => ({ path, code: 'NAME_NOT_UTF8', message: 'S3 cannot store a name that is not UTF-8.' })
