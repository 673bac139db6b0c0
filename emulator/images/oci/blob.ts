import { spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { pipeline } from 'node:stream/promises'
import { Readable } from 'node:stream'
import zlib from 'node:zlib'
import { hostTool, withoutEnvironment } from '../../container/host.js'
import { ImageError } from './tar.js'

/** Manifests and configurations; registries take no larger ones. */
export const maxDocumentBytes = 4 * 1024 ** 2

/** @throws {ImageError} unless it is the digest of an algorithm that is checked here */
export function parseDigest (digest: unknown): { algorithm: 'sha256' | 'sha512', hex: string } {
  const [, algorithm, hex] = /^(sha256|sha512):([0-9a-f]+)$/.exec(String(digest)) ?? []
  if (hex?.length !== (algorithm === 'sha256' ? 64 : 128)) throw new ImageError(`it has a digest that is none: ${String(digest).slice(0, 150)}`)
  return { algorithm: algorithm as 'sha256', hex }
}

/** Passes a stream on, and fails at its end unless it has that digest. */
export async function * verified (source: AsyncIterable<Buffer>, digest: string, what: string): AsyncGenerator<Buffer> {
  const { algorithm, hex } = parseDigest(digest)
  const hash = createHash(algorithm)
  for await (const chunk of source) {
    hash.update(chunk)
    yield chunk
  }
  if (hash.digest('hex') !== hex) throw new ImageError(`${what} does not have the digest ${digest}: it is damaged, or something else`)
}

/** @throws {ImageError} when there is more than a document may have */
export async function readDocument (source: AsyncIterable<Buffer>, what: string): Promise<Buffer> {
  const parts: Buffer[] = []
  let size = 0
  for await (const part of source) {
    size += part.length
    if (size > maxDocumentBytes) throw new ImageError(`${what} is larger than ${maxDocumentBytes} bytes`)
    parts.push(part)
  }
  return Buffer.concat(parts)
}

/** Whatever a media type says, the first bytes tell how a layer is compressed. */
export async function * decompressed (source: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
  const chunks = source[Symbol.asyncIterator]()
  let start: Buffer = Buffer.alloc(0)
  const whole = async function * () {
    yield start
    yield * { [Symbol.asyncIterator]: () => chunks }
  }
  try {
    for (let next = await chunks.next(); !next.done; next = await chunks.next()) {
      start = Buffer.concat([start, next.value])
      if (start.length >= 4) break
    }
    if (start.length >= 2 && start.readUInt16BE() === 0x1f8b) yield * through(whole(), zlib.createGunzip())
    else if (start.length >= 4 && start.readUInt32LE() === 0xfd2fb528) yield * unzstd(whole())
    else yield * whole()
  } finally {
    await chunks.return?.()
  }
}

/** Of Node since 22.15. */
const { createZstdDecompress } = zlib as { createZstdDecompress?: () => zlib.Gunzip }

async function * unzstd (source: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
  if (createZstdDecompress !== undefined) return yield * through(source, createZstdDecompress())
  const zstd = await hostTool('zstd').catch(() => {
    throw new ImageError('it is compressed with zstd: install zstd, or run on Node 22.15 or newer')
  })
  const [program, ...rest] = withoutEnvironment([zstd, '-dcq'])
  const child = spawn(program!, rest, { env: {}, cwd: '/', stdio: ['pipe', 'pipe', 'ignore'] })
  const ended = once(child, 'close')
  ended.catch(() => {})
  let failure: unknown
  const fed = pipeline(source, child.stdin).catch((error: NodeJS.ErrnoException) => { if (error.code !== 'EPIPE') failure = error })
  try {
    yield * child.stdout
    const [[code]] = await Promise.all([ended, fed])
    if (failure !== undefined) throw failure
    if (code !== 0) throw new ImageError('it cannot be decompressed (zstd)')
  } finally {
    child.kill('SIGKILL')
  }
}

async function * through (source: AsyncIterable<Buffer>, decompress: zlib.Gunzip): AsyncGenerator<Buffer> {
  pipeline(Readable.from(source), decompress).catch(() => {})
  try {
    yield * decompress
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException
    // What the source has failed with arrives here, too.
    if (!/^Z_|^ERR_/.test(String(code))) throw error
    throw new ImageError(`it cannot be decompressed (${message})`, { cause: error })
  } finally {
    decompress.destroy()
  }
}
