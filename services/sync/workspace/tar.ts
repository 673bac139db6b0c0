import type { ByteReader } from '../../../lib/byte-reader.js'
import { wholeSeconds } from './stat-records.js'
import type { WriteEntry } from './workspace.js'

const block = 512
const longestName = 100
const typeFlags = { file: '0', symlink: '2', directory: '5' } as const

interface TarMember { name: string, flag: string, body: Buffer }

/**
 * The next member of an archive with its whole body, which for a symlink is its target; undefined at the end. Written
 * here rather than taken from a library because what GNU's and busybox's tar write and accept is the whole point.
 * @throws {EndOfStream}
 */
export async function readMember (reader: ByteReader): Promise<TarMember | undefined> {
  let longName: string | undefined
  let longTarget: string | undefined
  while (true) {
    const header = await reader.take(block)
    if (header[0] === 0) return
    const size = number(header, 124, 12)
    const flag = String.fromCharCode(header[156]!)
    const body = await reader.take(size)
    await reader.skip(padding(size))
    if (flag === 'L') longName = text(body, 0, size)
    else if (flag === 'K') longTarget = text(body, 0, size)
    else {
      const name = longName ?? text(header, 0, longestName)
      const target = longTarget ?? text(header, 157, longestName)
      return { name, flag, body: flag === '2' ? Buffer.from(target) : body }
    }
  }
}

/**
 * The header of an entry and what precedes it: GNU's form of long names, which busybox knows as well, and a time with
 * a fraction, which busybox skips.
 */
export function encodeHeader ({ path, type, mode, mtime, size, target }: WriteEntry): Buffer {
  const name = Buffer.from(type === 'directory' ? `./${path}/` : `./${path}`)
  const link = Buffer.from(target ?? '')
  const fraction = mtime.includes('.') ? [member('x', 'pax', paxRecord('mtime', mtime))] : []
  return Buffer.concat([
    ...fraction,
    ...name.length > longestName ? [member('L', '././@LongLink', Buffer.concat([name, Buffer.alloc(1)]))] : [],
    ...link.length > longestName ? [member('K', '././@LongLink', Buffer.concat([link, Buffer.alloc(1)]))] : [],
    header(typeFlags[type], name, type === 'file' ? size : 0, mode, wholeSeconds(mtime), link)
  ])
}

/** What follows a body of that size. */
export function tarPadding (size: number): Buffer {
  return Buffer.alloc(padding(size))
}

/** The end of an archive. */
export const tarEnd = Buffer.alloc(2 * block)

/** An archive of entries, chunk by chunk. */
export async function * tarArchive (entries: AsyncIterable<WriteEntry>): AsyncGenerator<Uint8Array> {
  for await (const entry of entries) {
    yield encodeHeader(entry)
    if (entry.type !== 'file' || entry.size === 0) continue
    if (entry.body instanceof Uint8Array) yield entry.body
    else yield * entry.body!
    yield tarPadding(entry.size)
  }
  yield tarEnd
}

/** Joins small chunks and passes on large ones as they are: every write to a process is a call. */
export async function * coalesce (chunks: AsyncIterable<Uint8Array>, size: number): AsyncGenerator<Uint8Array> {
  let kept: Uint8Array[] = []
  let length = 0
  for await (const chunk of chunks) {
    if (chunk.length === 0) continue
    kept.push(chunk)
    length += chunk.length
    if (length < size) continue
    yield kept.length === 1 ? kept[0]! : Buffer.concat(kept)
    kept = []
    length = 0
  }
  if (length > 0) yield Buffer.concat(kept)
}

function padding (size: number): number {
  return (block - size % block) % block
}

function member (flag: string, name: string, body: Buffer): Buffer {
  return Buffer.concat([header(flag, Buffer.from(name), body.length, 0o644, 0), body, tarPadding(body.length)])
}

/** `<length> <key>=<value>\n`, where the length counts itself. */
function paxRecord (key: string, value: string): Buffer {
  const rest = ` ${key}=${value}\n`
  let length = rest.length + 1
  while (`${length}${rest}`.length !== length) length = `${length}${rest}`.length
  return Buffer.from(`${length}${rest}`)
}

function header (
  flag: string, name: Buffer, size: number, mode: number, mtime: number, link = Buffer.alloc(0)
): Buffer {
  const bytes = Buffer.alloc(block)
  name.copy(bytes, 0, 0, longestName)
  octal(bytes, 100, 8, mode)
  octal(bytes, 108, 8, 0)
  octal(bytes, 116, 8, 0)
  octal(bytes, 124, 12, size)
  octal(bytes, 136, 12, mtime)
  bytes.write(flag, 156)
  link.copy(bytes, 157, 0, longestName)
  bytes.write('ustar  \0', 257, 'latin1')
  bytes.fill(' ', 148, 156)
  let sum = 0
  for (const byte of bytes) sum += byte
  octal(bytes, 148, 7, sum)
  return bytes
}

/** Octal digits and a NUL; where they do not fit, GNU's form: a set high bit, then the number in two's complement. */
function octal (bytes: Buffer, offset: number, length: number, value: number) {
  const digits = value.toString(8).padStart(length - 1, '0')
  if (value >= 0 && digits.length < length) {
    bytes.write(digits, offset)
    bytes[offset + length - 1] = 0
    return
  }
  bytes.fill(value < 0 ? 0xff : 0, offset, offset + length)
  bytes[offset] = value < 0 ? 0xff : 0x80
  bytes.writeBigInt64BE(BigInt(value), offset + length - 8)
}

function number (bytes: Buffer, offset: number, length: number): number {
  if (bytes[offset]! & 0x80) return Number(bytes.readBigUInt64BE(offset + length - 8))
  return parseInt(text(bytes, offset, length).trim(), 8) || 0
}

function text (bytes: Buffer, offset: number, length: number): string {
  const end = bytes.indexOf(0, offset)
  return bytes.toString('utf8', offset, end === -1 ? offset + length : Math.min(end, offset + length))
}
