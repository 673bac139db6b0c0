/** What is kept of headers for one entry, and for all: names and attributes of real images are far shorter. */
const maxExtensionBytes = 1024 ** 2
const maxGlobalBytes = 64 * 1024
const blockSize = 512
/** Seconds; beyond it, file systems disagree. */
const maxTime = 2 ** 33

export interface TarEntry {
  /** As it is in the archive: it may be absolute, or contain `..`. */
  path: string
  type: 'file' | 'hard link' | 'link' | 'directory' | 'device'
  /** Permissions, with the bits for setuid, setgid and sticky. */
  mode: number
  uid: number
  gid: number
  /** Seconds since 1970. */
  mtime: number
  /** Bytes of content; 0 for everything but files. */
  size: number
  /** Where a link leads. */
  target: string
  xattrs: Map<string, Buffer>
  /** Where the content begins in the archive, in bytes. */
  offset: number
}

/** What is wrong with an image, or with what one gets it from; the message is for people who have not seen the code. */
export class ImageError extends Error {
  override name = 'ImageError'
}

/** What a header says of the next one: long names, exact numbers, extended attributes. */
type Extensions = Map<string, Buffer>

const types: Record<string, TarEntry['type']> = {
  '\0': 'file', 0: 'file', 7: 'file', 1: 'hard link', 2: 'link', 3: 'device', 4: 'device', 5: 'directory', 6: 'device'
}
const isCount = (value: number) => Number.isSafeInteger(value) && value >= 0
const noArchive = 'it is not a tar archive, or a damaged one'
const xattrPrefix = 'SCHILY.xattr.'
const utf8 = new TextDecoder('utf-8', { fatal: true })

/**
 * The entries of a tar archive (POSIX with its extensions, or GNU), each with its content, which is skipped unless it
 * is read before the next entry is asked for. Extended attributes stay bytes, and what a header makes the reader keep
 * is bounded; the libraries for Node decode the former to text and do not bound the latter.
 * @throws {ImageError} for what is not such an archive
 */
export async function * readTar (source: AsyncIterable<Buffer>): AsyncGenerator<[TarEntry, AsyncIterable<Buffer>]> {
  const bytes = new Bytes(source)
  try {
    yield * entriesOf(bytes)
    // What is behind the end is part of the blob whose digest is verified.
    await bytes.skip(Infinity)
  } finally {
    await bytes.close()
  }
}

async function * entriesOf (bytes: Bytes): AsyncGenerator<[TarEntry, AsyncIterable<Buffer>]> {
  const global: Extensions = new Map()
  let extensions: Extensions = new Map()
  let [extensionBytes, globalBytes] = [0, 0]
  for (let header = await bytes.block(); header !== undefined; header = await bytes.block()) {
    checkSum(header)
    const size = number(header, 124, 12)
    const type = String.fromCharCode(header[156]!)
    if ('xgLK'.includes(type)) {
      if (!isCount(size)) throw new ImageError('the archive has a header of an impossible size')
      if (type === 'g') globalBytes += size
      else extensionBytes += size
      if (extensionBytes > maxExtensionBytes || globalBytes > maxGlobalBytes) {
        throw new ImageError('the headers of an entry of the archive are too long')
      }
      const content = await bytes.exactly(size)
      await bytes.skip(padding(size))
      if (type === 'g') readRecords(content, global)
      else if (type === 'x') readRecords(content, extensions)
      else extensions.set(type === 'L' ? 'path' : 'linkpath', untilZero(content))
      continue
    }
    const entry = entryOf(header, type, new Map([...global, ...extensions]), bytes.position)
    extensions = new Map()
    extensionBytes = 0
    const end = bytes.position + entry.size
    yield [entry, bytes.until(end)]
    await bytes.skip(end - bytes.position + padding(entry.size))
  }
}

function entryOf (header: Buffer, flag: string, extensions: Extensions, offset: number): TarEntry {
  const type = types[flag]
  if (type === undefined || [...extensions.keys()].some((name) => name.startsWith('GNU.sparse'))) {
    throw new ImageError(`the archive has an entry of a kind that is not supported: ${type === undefined ? JSON.stringify(flag) : 'a sparse file'}`)
  }
  const isPosix = header.toString('latin1', 257, 263) === 'ustar\0'
  const prefix = isPosix ? untilZero(header.subarray(345, 500)) : Buffer.alloc(0)
  const name = untilZero(header.subarray(0, 100))
  const path = text(extensions.get('path') ?? (prefix.length > 0 ? Buffer.concat([prefix, Buffer.from('/'), name]) : name))
  const exact = (key: string, start: number, length: number) => {
    const value = extensions.get(key)
    return value === undefined ? number(header, start, length) : decimal(key, value)
  }
  const isDirectory = type === 'directory' || (flag === '\0' && path.endsWith('/'))
  const [size, uid, gid] = [exact('size', 124, 12), exact('uid', 108, 8), exact('gid', 116, 8)]
  if (!isCount(size)) throw new ImageError('the archive has an entry of an impossible size')
  if (![uid, gid].every((id) => isCount(id) && id < 2 ** 32 - 1)) throw new ImageError('the archive has an entry of an impossible owner')
  return {
    path,
    type: isDirectory ? 'directory' : type,
    mode: number(header, 100, 8) & 0o7777,
    uid,
    gid,
    mtime: Math.min(Math.max(exact('mtime', 136, 12), 0), maxTime),
    size: type === 'file' && !isDirectory ? size : 0,
    target: text(extensions.get('linkpath') ?? untilZero(header.subarray(157, 257))),
    xattrs: new Map([...extensions].flatMap(([key, value]) =>
      key.startsWith(xattrPrefix) ? [[key.slice(xattrPrefix.length), value]] : [])),
    offset
  }
}

/** Records of the form `LENGTH KEY=VALUE\n`; the length counts the whole record. */
function readRecords (content: Buffer, into: Extensions): void {
  for (let start = 0; start < content.length;) {
    const space = content.indexOf(' ', start)
    const digits = content.toString('latin1', start, Math.max(start, space))
    const end = start + Number(digits)
    const equals = content.indexOf('=', space)
    if (!/^[1-9]\d*$/.test(digits) || end > content.length || equals < space || equals >= end || content[end - 1] !== 0x0a) {
      throw new ImageError('the archive has an extended header that cannot be read')
    }
    into.set(content.toString('utf8', space + 1, equals), content.subarray(equals + 1, end - 1))
    start = end
  }
}

/** Octal digits, or, for large and negative numbers, bytes. */
function number (header: Buffer, start: number, length: number): number {
  const field = header.subarray(start, start + length)
  if ((field[0]! & 0x80) === 0) {
    const digits = field.toString('latin1').replace(/[\0 ]+$/, '').trim()
    if (!/^[0-7]*$/.test(digits)) throw new ImageError(noArchive)
    return Number.parseInt(digits || '0', 8)
  }
  return field.subarray(1).reduce((sum, byte) => sum * 256 + byte, field[0] === 0xff ? -1 : field[0]! & 0x7f)
}

function decimal (key: string, value: Buffer): number {
  const found = Number(value.toString('latin1'))
  if (!Number.isFinite(found)) throw new ImageError(`the archive has an extended header whose ${key} is no number`)
  return found
}

function checkSum (header: Buffer): void {
  const expected = number(header, 148, 8)
  const sum = header.reduce((total, byte, index) => total + (index >= 148 && index < 156 ? 0x20 : byte), 0)
  if (sum !== expected) throw new ImageError(noArchive)
}

function text (bytes: Buffer): string {
  if (bytes.includes(0)) throw new ImageError('the archive has a name with a NUL in it')
  try {
    return utf8.decode(bytes)
  } catch {
    throw new ImageError(`the archive has a name that is not UTF-8: ${JSON.stringify(bytes.toString('latin1').slice(0, 100))}`)
  }
}

function untilZero (field: Buffer): Buffer {
  const end = field.indexOf(0)
  return end < 0 ? field : field.subarray(0, end)
}

const padding = (size: number) => (blockSize - size % blockSize) % blockSize

/** A stream in pieces of the asked size. */
class Bytes {
  /** How many have been read. */
  position = 0
  readonly #source: AsyncIterator<Buffer>
  #rest: Buffer = Buffer.alloc(0)

  constructor (source: AsyncIterable<Buffer>) {
    this.#source = source[Symbol.asyncIterator]()
  }

  /** Tells the source that no more of it is read. */
  async close (): Promise<void> {
    await this.#source.return?.()
  }

  /** The next header; undefined at the end of the archive. */
  async block (): Promise<Buffer | undefined> {
    const first = await this.#some(blockSize)
    if (first === undefined) return
    const rest = first.length < blockSize ? await this.exactly(blockSize - first.length) : Buffer.alloc(0)
    const block = Buffer.concat([first, rest])
    return block.every((byte) => byte === 0) ? undefined : block
  }

  async exactly (length: number): Promise<Buffer> {
    const parts: Buffer[] = []
    for await (const part of this.until(this.position + length)) parts.push(part)
    return parts.length === 1 ? parts[0]! : Buffer.concat(parts)
  }

  async * until (end: number): AsyncGenerator<Buffer> {
    while (this.position < end) {
      const part = await this.#some(end - this.position)
      if (part === undefined) throw new ImageError('the archive ends in the middle of an entry')
      yield part
    }
  }

  async skip (length: number): Promise<void> {
    for (let left = length; left > 0;) {
      const part = await this.#some(left)
      if (part === undefined) return
      left -= part.length
    }
  }

  async #some (most: number): Promise<Buffer | undefined> {
    while (this.#rest.length === 0) {
      const { value, done } = await this.#source.next()
      if (done) return
      this.#rest = value
    }
    const part = this.#rest.subarray(0, most)
    this.#rest = this.#rest.subarray(part.length)
    this.position += part.length
    return part
  }
}
