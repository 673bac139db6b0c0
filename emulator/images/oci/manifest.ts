import { parseDigest, readDocument, verified } from './blob.js'
import { ImageError } from './tar.js'

/** Like Docker's. */
const maxLayers = 127
/** An index may lead to another one. */
const maxIndexes = 4

/** What points to a blob. */
export interface Descriptor {
  mediaType?: string
  digest: string
  size: number
  platform?: { os?: string, architecture?: string, variant?: string }
  annotations?: Record<string, string>
}

/** What a container gets from an image, besides its files. */
export interface ImageConfig {
  env: Record<string, string>
  workdir?: string
  user?: string
  entrypoint?: string[]
}

/** An image that can be unpacked. */
export interface ImageContent {
  /** Of its manifest or configuration: what it is known by. */
  digest: string
  config: ImageConfig
  /** Variables whose names no shell takes. */
  droppedVariables: string[]
  /** Lowest first. */
  layers: Layer[]
}

interface Layer {
  name: string
  /** The digest of the archive without compression. */
  diffId: string
  blob?: Descriptor
  /** Its bytes, compressed or not. */
  open (): AsyncIterable<Buffer>
}

/** Where blobs come from; their digests are not to be trusted. */
export interface BlobSource {
  manifest (descriptor: Descriptor): AsyncIterable<Buffer>
  blob (descriptor: Descriptor): AsyncIterable<Buffer>
}

export const architecture = process.arch === 'x64' ? 'amd64' : process.arch

/**
 * Follows a manifest, or an index of manifests for several platforms, to the image for this machine.
 * @param document the manifest that `digest` is the digest of
 * @throws {ImageError}
 */
export async function readImage (
  { document, digest }: { document: Buffer, digest: string }, source: BlobSource
): Promise<ImageContent> {
  for (let indexes = 0; indexes < maxIndexes; indexes++) {
    const manifest = parse(document, 'the manifest')
    if (!Array.isArray(manifest['manifests'])) return await readManifest(manifest, digest, source)
    const chosen = forThisMachine(manifest['manifests'].map(descriptorOf))
    digest = chosen.digest
    document = await readDocument(verified(source.manifest(chosen), digest, 'the manifest'), 'the manifest')
  }
  throw new ImageError('its manifest leads from index to index')
}

async function readManifest (
  manifest: Record<string, unknown>, digest: string, source: BlobSource
): Promise<ImageContent> {
  if (manifest['schemaVersion'] === 1) throw new ImageError('its manifest has the old format (schema 1): push it again with a newer program')
  const configuration = descriptorOf(manifest['config'])
  const layers = (Array.isArray(manifest['layers']) ? manifest['layers'] : []).map(descriptorOf)
  const text = await readDocument(verified(source.blob(configuration), configuration.digest, 'the configuration'), 'the configuration')
  return contentOf(digest, text, layers.map((layer) => ({
    name: layer.digest,
    blob: layer,
    open: () => verified(source.blob(layer), layer.digest, 'a layer')
  })))
}

/** @param text the image's configuration */
export function contentOf (digest: string, text: Buffer, layers: Array<Omit<Layer, 'diffId'>>): ImageContent {
  const { os = 'linux', architecture: built = architecture, rootfs, config } = parse(text, 'the configuration')
  if (os !== 'linux' || built !== architecture) throw new ImageError(`it is built for ${os}/${built}, and this machine is linux/${architecture}`)
  const diffIds: unknown = isObject(rootfs) ? rootfs['diff_ids'] : undefined
  if (!Array.isArray(diffIds) || diffIds.length !== layers.length) throw new ImageError('its configuration does not name its layers (rootfs.diff_ids)')
  if (layers.length > maxLayers) throw new ImageError(`it has ${layers.length} layers, and may have ${maxLayers}`)
  for (const diffId of diffIds) parseDigest(diffId)
  return {
    digest,
    layers: layers.map((layer, index) => ({ ...layer, diffId: diffIds[index] })),
    ...configOf(isObject(config) ? config : {})
  }
}

function configOf (config: Record<string, unknown>): Pick<ImageContent, 'config' | 'droppedVariables'> {
  const variables = strings(config['Env'], 'Env').map((variable) => /^([^=]*)=(.*)$/s.exec(variable)?.slice(1) as [string, string] ?? [variable, ''])
  if (strings(config['OnBuild'], 'OnBuild').length > 0) throw new ImageError('it has ONBUILD instructions, which the local emulator does not run')
  const isValid = ([name, value]: [string, string]) => /^[A-Za-z_]\w*$/.test(name) && !value.includes('\0')
  const workdir = string(config['WorkingDir'], 'WorkingDir')
  const user = string(config['User'], 'User')
  const entrypoint = strings(config['Entrypoint'], 'Entrypoint')
  return {
    config: {
      env: Object.fromEntries(variables.filter(isValid)),
      ...workdir !== '' && { workdir: workdir.startsWith('/') ? workdir : `/${workdir}` },
      ...user !== '' && { user },
      ...entrypoint.length > 0 && { entrypoint }
    },
    droppedVariables: variables.filter((variable) => !isValid(variable)).map(([name]) => name)
  }
}

function forThisMachine (manifests: Descriptor[]): Descriptor {
  const fitting = manifests.filter(({ platform }) =>
    platform === undefined || ((platform.os ?? 'linux') === 'linux' && platform.architecture === architecture))
  // For arm64, v8 is the usual variant, which is not always named.
  const chosen = fitting.find(({ platform }) => [undefined, '', 'v8'].includes(platform?.variant)) ?? fitting[0]
  if (chosen !== undefined) return chosen
  const others = manifests.map(({ platform }) => [platform?.os, platform?.architecture, platform?.variant].filter(Boolean).join('/'))
  throw new ImageError(`it is not built for linux/${architecture}, only for ${[...new Set(others)].join(', ') || 'nothing'}`)
}

export function descriptorOf (value: unknown): Descriptor {
  if (!isObject(value)) throw new ImageError('its manifest lacks a descriptor')
  parseDigest(value['digest'])
  if (!Number.isSafeInteger(value['size']) || Number(value['size']) < 0) throw new ImageError('its manifest has a descriptor without a size')
  for (const name of ['platform', 'annotations']) {
    if (value[name] !== undefined && !isObject(value[name])) throw new ImageError(`its manifest has a descriptor whose ${name} is no object`)
  }
  return value as unknown as Descriptor
}

/** @throws {ImageError} for everything but a JSON object */
export function parse (text: Buffer, what: string): Record<string, unknown> {
  const value = parseJson(text, what)
  if (isObject(value)) return value
  throw new ImageError(`${what} is not a JSON object`)
}

export function parseJson (text: Buffer, what: string): unknown {
  try {
    return JSON.parse(text.toString())
  } catch {
    throw new ImageError(`${what} is not JSON`)
  }
}

export function isObject (value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function string (value: unknown, name: string): string {
  if (value === undefined || value === null) return ''
  if (typeof value === 'string' && !value.includes('\0')) return value
  throw new ImageError(`its configuration has ${name} that is no text`)
}

export function strings (value: unknown, name: string): string[] {
  if (value === undefined || value === null) return []
  if (Array.isArray(value) && value.every((entry) => typeof entry === 'string' && !entry.includes('\0'))) return value
  throw new ImageError(`its configuration has ${name} that is no list of texts`)
}
