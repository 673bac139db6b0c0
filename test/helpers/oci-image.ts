import { createHash } from 'node:crypto'
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import { architecture } from '../../emulator/images/oci/manifest.js'

/** One entry of a tar archive, with what is left out as `tar` does it. */
export interface TarInput {
  path: string
  /** '0' a file (default), '1' a hard link, '2' a link, '3' a character device, '5' a directory, '6' a FIFO. */
  flag?: string
  content?: string | Buffer
  target?: string
  mode?: number
  uid?: number
  gid?: number
  mtime?: number
  /** Records of an extended header. */
  pax?: Record<string, string | Buffer>
}

export const file = (path: string, content: string | Buffer = '', more: Partial<TarInput> = {}): TarInput =>
  ({ path, content, ...more })
export const directory = (path: string, mode = 0o755): TarInput => ({ path, flag: '5', mode })
export const symlink = (path: string, target: string): TarInput => ({ path, flag: '2', target })
export const hardLink = (path: string, target: string): TarInput => ({ path, flag: '1', target })

/** A tar archive of exactly these entries, whatever a `tar` program would think of them. */
export function tarOf (entries: TarInput[]): Buffer {
  return Buffer.concat([...entries.flatMap(blocksOf), Buffer.alloc(1024)])
}

function blocksOf (entry: TarInput): Buffer[] {
  const { path, flag = '0', content = '', target = '', pax = {} } = entry
  const records = {
    ...Buffer.byteLength(path) > 100 && { path },
    ...Buffer.byteLength(target) > 100 && { linkpath: target },
    ...pax
  }
  const data = Buffer.from(content as string)
  return [
    ...Object.keys(records).length === 0 ? [] : [extendedHeader('x', records)],
    header(entry, flag === '0' ? data.length : 0), ...flag === '0' ? [padded(data)] : []
  ]
}

/** What says more of the next entry (`x`), or of all that follow (`g`). */
export function extendedHeader (flag: 'x' | 'g', records: Record<string, string | Buffer>): Buffer {
  const content = Buffer.concat(Object.entries(records).map((record) => recordOf(...record)))
  return rawHeader(flag, content)
}

/** What says more of the next entry, however wrong. @param size what the header says of the content, maybe as bytes */
export function rawHeader (flag: string, content: Buffer, size: number | Buffer = content.length): Buffer {
  return Buffer.concat([header({ path: 'pax', flag }, size), padded(content)])
}

function header (entry: TarInput, size: number | Buffer): Buffer {
  const { path, flag = '0', target = '', mode = 0o644, uid = 0, gid = 0, mtime = 1_700_000_000 } = entry
  const block = Buffer.alloc(512)
  const octal = (value: number, start: number, length: number) =>
    block.write(value.toString(8).padStart(length - 1, '0'), start, length - 1, 'latin1')
  Buffer.from(path).copy(block, 0, 0, 100)
  octal(mode, 100, 8)
  octal(uid, 108, 8)
  octal(gid, 116, 8)
  if (typeof size === 'number') octal(size, 124, 12)
  else size.copy(block, 124, 0, 12)
  octal(mtime, 136, 12)
  block.write(flag, 156)
  Buffer.from(target).copy(block, 157, 0, 100)
  block.write('ustar\x0000', 257, 'latin1')
  block.fill(' ', 148, 156)
  octal(block.reduce((sum, byte) => sum + byte, 0), 148, 7)
  return block
}

function recordOf (key: string, value: string | Buffer): Buffer {
  const rest = Buffer.concat([` ${key}=`, value, '\n'].map((part) => Buffer.from(part as string)))
  let length = rest.length
  while (String(length).length + rest.length !== length) length = String(length).length + rest.length
  return Buffer.concat([Buffer.from(String(length)), rest])
}

const padded = (data: Buffer) => Buffer.concat([data, Buffer.alloc((512 - data.length % 512) % 512)])

export const sha256 = (data: Buffer | string) => `sha256:${createHash('sha256').update(data).digest('hex')}`

export interface ImageInput {
  /** Tar archives, lowest first. */
  layers: Buffer[]
  /** Env, User and so on. */
  config?: Record<string, unknown>
  architecture?: string
  /** How layers are compressed; gzip by default. */
  compress?: (layer: Buffer) => Buffer
  mediaType?: string
}

interface Descriptor { mediaType: string, digest: string, size: number, platform?: object, annotations?: object }

/** An image as blobs; the manifest is one of them. */
export class TestImage {
  readonly blobs = new Map<string, Buffer>()
  readonly manifest: Descriptor
  readonly layers: Descriptor[]

  constructor (input: ImageInput) {
    const { layers, config = {}, architecture: built = architecture, compress = gzipSync, mediaType } = input
    this.layers = layers.map((layer) => this.add(compress(layer), mediaType ?? 'application/vnd.oci.image.layer.v1.tar+gzip'))
    const document = { os: 'linux', architecture: built, config, rootfs: { type: 'layers', diff_ids: layers.map(sha256) } }
    const configuration = this.add(Buffer.from(JSON.stringify(document)), 'application/vnd.oci.image.config.v1+json')
    const type = 'application/vnd.oci.image.manifest.v1+json'
    const manifest = { schemaVersion: 2, mediaType: type, config: configuration, layers: this.layers }
    this.manifest = { ...this.add(Buffer.from(JSON.stringify(manifest)), type), platform: { os: 'linux', architecture: built } }
  }

  add (data: Buffer, mediaType: string): Descriptor {
    const digest = sha256(data)
    this.blobs.set(digest, data)
    return { mediaType, digest, size: data.length }
  }
}

/** The files of an OCI layout, by name. @param images by their names in the index */
export function layoutFiles (images: Record<string, TestImage>): Map<string, Buffer> {
  const manifests = Object.entries(images).map(([name, { manifest }]) =>
    ({ ...manifest, annotations: { 'org.opencontainers.image.ref.name': name } }))
  const blobs = Object.values(images).flatMap((image) => [...image.blobs])
  return new Map([
    ['oci-layout', Buffer.from('{"imageLayoutVersion":"1.0.0"}')],
    ['index.json', Buffer.from(JSON.stringify({ schemaVersion: 2, manifests }))],
    ...blobs.map(([digest, data]) => [`blobs/${digest.replace(':', '/')}`, data] as const)
  ])
}

/** What `docker save` wrote before it wrote OCI layouts, too. */
export function dockerFiles (layers: Buffer[], config: Record<string, unknown>, tags: string[]): Map<string, Buffer> {
  const rootfs = { type: 'layers', diff_ids: layers.map(sha256) }
  const document = Buffer.from(JSON.stringify({ os: 'linux', architecture, config, rootfs }))
  const name = `${sha256(document).slice(7)}.json`
  const names = layers.map((layer) => `${sha256(layer).slice(7)}/layer.tar`)
  return new Map([
    ...layers.map((layer, index) => [names[index]!, layer] as const),
    [name, document],
    ['manifest.json', Buffer.from(JSON.stringify([{ Config: name, RepoTags: tags, Layers: names }]))]
  ])
}

export async function writeFiles (root: string, files: Map<string, Buffer>): Promise<string> {
  for (const [name, data] of files) {
    await mkdir(join(root, name, '..'), { recursive: true })
    await writeFile(join(root, name), data)
  }
  return root
}

export const tarOfFiles = (files: Map<string, Buffer>): Buffer =>
  tarOf([...files].map(([path, content]) => ({ path, content })))
