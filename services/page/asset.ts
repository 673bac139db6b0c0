import { createHash } from 'node:crypto'
import { extname } from 'node:path'
import { promisify } from 'node:util'
import { brotliCompress, constants, gzip } from 'node:zlib'

const types: Record<string, string> = {
  '.css': 'text/css; charset=utf-8',
  '.html': 'text/html; charset=utf-8',
  '.js': 'text/javascript; charset=utf-8',
  '.svg': 'image/svg+xml',
  '.woff2': 'font/woff2'
}
/** Beyond this, the best that brotli can do takes seconds of a processor. */
const maxThoroughBytes = 1024 * 1024

/** What a client can be answered with, the best first. */
export const encodings = ['br', 'gzip', 'identity'] as const
export type Encoding = typeof encodings[number]

const compress: Record<Encoding, (content: Buffer) => Promise<Buffer>> = {
  br: async (content) => {
    const { BROTLI_PARAM_QUALITY: quality, BROTLI_MAX_QUALITY: best } = constants
    const level = content.length > maxThoroughBytes ? 9 : best
    return await promisify(brotliCompress)(content, { params: { [quality]: level } })
  },
  gzip: async (content) => await promisify(gzip)(content, { level: 9 }),
  identity: async (content) => content
}

/** A file that browsers load, in memory, with the forms that clients have asked for. */
export class Asset {
  readonly path: string
  readonly content: Buffer
  readonly hash: string
  readonly type: string
  readonly #encoded = new Map<Encoding, Promise<Buffer>>()

  /**
   * @param path from the root of the page: `lib/api.js`
   * @throws Error for a kind of file that browsers have not been served yet
   */
  constructor (path: string, content: Buffer) {
    const type = types[extname(path)]
    if (type === undefined) throw new Error(`${path}: no media type is known for this kind of file`)
    this.path = path
    this.content = content
    this.type = type
    this.hash = createHash('sha256').update(content).digest('base64url').replaceAll(/[-_]/g, '').slice(0, 10)
  }

  /** The path with the hash in it: what is there never changes. */
  get hashedPath (): string {
    const extension = extname(this.path)
    return `${this.path.slice(0, -extension.length)}.${this.hash}${extension}`
  }

  /** Fonts are compressed already. */
  get encodings (): readonly Encoding[] {
    return this.type.startsWith('font/') ? ['identity'] : encodings
  }

  /** Compressed when it is first asked for, as the service shall start soon, and kept. */
  async encoded (encoding: Encoding): Promise<Buffer> {
    const known = this.#encoded.get(encoding) ?? compress[encoding](this.content)
    this.#encoded.set(encoding, known)
    return await known
  }
}
