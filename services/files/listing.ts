import { posix } from 'node:path'
import type { FileEntry, FileListing } from '../../schemas/file.js'

/** No client can use more of one directory. */
const mostEntries = 5000
const kinds: Record<number, FileEntry['type']> = { 0o100000: 'file', 0o040000: 'directory', 0o120000: 'symlink' }

/**
 * The script's records as entries, directories first. A record that was cut off at the end of the text is left out.
 * @param since milliseconds since 1970: older entries are left out, as the script only compares minutes.
 */
export function parseListing (text: string, nonce: string, { cut = false, since = -Infinity } = {}): FileListing {
  const records = text.split(nonce).slice(1).map((record) => record.replace(/\n$/, ''))
  if (cut) records.pop()
  const targets = targetsIn(records)
  const path = records.find((record) => record.startsWith('P'))?.slice(1) ?? '/'
  const entries = records
    .flatMap((record) => parseEntry(record, path, targets))
    .filter(({ modifiedAt }) => Date.parse(modifiedAt) >= Math.floor(since / 1000) * 1000)
    .sort((one, other) => Number(other.type === 'directory') - Number(one.type === 'directory') || (one.name < other.name ? -1 : 1))
  return { path, entries: entries.slice(0, mostEntries), truncated: cut || entries.length > mostEntries }
}

/** By link: the name in an `L` record, where it leads in the `T` after it. */
function targetsIn (records: string[]): Map<string, string> {
  return new Map(records.flatMap((record, index) => {
    const next = records[index + 1]
    return record.startsWith('L') && next?.startsWith('T') ? [[record.slice(1), next.slice(1)] as const] : []
  }))
}

/** `E<mode in hex> <size> <seconds> ./<name>` */
function parseEntry (record: string, directory: string, targets: Map<string, string>): FileEntry[] {
  const match = /^E([0-9a-f]+) (\d+) (-?\d{1,11}) \.\/([^]+)$/.exec(record)
  if (match === null) return []
  const [, hex = '', size, seconds, name = ''] = match
  const mode = parseInt(hex, 16)
  const target = targets.get(`./${name}`)
  return [{
    name,
    path: posix.join(directory, name),
    type: kinds[mode & 0o170000] ?? 'other',
    size: Number(size),
    mode: (mode & 0o7777).toString(8).padStart(3, '0'),
    modifiedAt: new Date(Number(seconds) * 1000).toISOString(),
    ...(target !== undefined && { target })
  }]
}
