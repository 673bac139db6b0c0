import type { ByteReader } from '../../../lib/byte-reader.js'
import type { EntryType, Entry, Problem } from './workspace.js'

/** What a look at a name found; `validName` is false for one that is not UTF-8. */
export interface StatRecord extends Omit<Entry, 'type'> { type: EntryType | 'special', validName: boolean }

const types: Record<number, EntryType> = { 0o100000: 'file', 0o040000: 'directory', 0o120000: 'symlink' }

/** Records as the scripts write them. @returns what the line that ends them says more. @throws {EndOfStream} */
export async function readStatRecords (reader: ByteReader, onLook: (look: StatRecord) => void): Promise<string> {
  let last = ''
  await reader.parse((bytes) => {
    // One character a byte: to search and cut a string is faster than to ask the buffer about each record.
    const text = bytes.toString('latin1')
    for (let taken = 0; ;) {
      const nameEnd = text.indexOf('//', taken)
      const end = nameEnd === -1 ? -1 : text.indexOf('\n', nameEnd)
      if (end === -1) return { taken, done: false }
      if (nameEnd === taken) {
        last = text.slice(nameEnd + 2, end)
        return { taken: end + 1, done: true }
      }
      onLook(toLook(text.slice(taken, nameEnd), text.slice(nameEnd + 2, end)))
      taken = end + 1
    }
  })
  return last
}

/** @param name with one character a byte. */
function toLook (name: string, fields: string): StatRecord {
  const bare = name.startsWith('./') ? name.slice(2) : name
  const bytes = isAscii(bare) ? undefined : Buffer.from(bare, 'latin1')
  const path = bytes?.toString() ?? bare
  const [raw, size, mtime, ctime, uid, gid] = fields.split(' ') as [string, string, string, string, string, string]
  const bits = parseInt(raw, 16)
  const type = types[bits & 0o170000] ?? 'special'
  return {
    path,
    type,
    mode: bits & 0o7777,
    size: type === 'directory' ? 0 : Number(size),
    mtime,
    ctime,
    uid: Number(uid),
    gid: Number(gid),
    validName: bytes === undefined || !path.includes('\ufffd') || Buffer.from(path).equals(bytes)
  }
}

function isAscii (text: string): boolean {
  return !/[^\0-\x7f]/.test(text)
}

export function isEntry (look: StatRecord): look is StatRecord & Entry {
  return look.type !== 'special'
}

export function toEntry ({ path, type, mode, size, mtime, ctime, uid, gid }: StatRecord): Entry {
  return { path, type: type as Entry['type'], mode, size, mtime, ctime, uid, gid }
}

type State = Pick<StatRecord, 'type' | 'size' | 'mtime' | 'ctime'>

/**
 * Whether nothing changed a file between two looks. A change that is younger than what the clock of the file system can
 * tell apart may have company that leaves no trace: it has to be looked at again later.
 * @param now seconds since 1970 at the first look, by the clock of the file system.
 */
export function isUnchanged (before: State | undefined, after: State | undefined, now: number): boolean {
  if (before === undefined || after === undefined) return false
  if (before.type !== after.type || before.size !== after.size) return false
  const youngest = before.ctime.includes('.') ? 0.02 : 2
  return before.mtime === after.mtime && before.ctime === after.ctime && now - Number(before.ctime) >= youngest
}

/** Nanoseconds as GNU's stat writes them. */
export function seconds (nanoseconds: bigint): string {
  return `${nanoseconds / 1_000_000_000n}.${String(nanoseconds % 1_000_000_000n).padStart(9, '0')}`
}

/** Node.js sets no finer times than microseconds, and cuts a number that may lie just below the one it stands for. */
export function settableTime (mtime: string): number {
  const [seconds, fraction] = mtime.split('.')
  return Number(fraction === undefined ? seconds : `${seconds}.${fraction.padEnd(6, '0').slice(0, 6)}5`)
}

export const changed = (path: string): Problem => ({ path, code: 'CHANGED', message: 'The file keeps changing while it is read.' })
export const gone = (path: string): Problem => ({ path, code: 'GONE', message: 'The file was removed during the sync.' })
export const unreadable = (path: string): Problem => ({ path, code: 'UNREADABLE', message: 'The file may not be read.' })
export const badName = (path: string): Problem => ({ path, code: 'NAME_NOT_UTF8', message: 'S3 can not carry a name that is not UTF-8.' })
