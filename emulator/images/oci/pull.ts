import { createHash, randomBytes } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { mkdir, open, rename, rm, stat } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { parseDigest, verified } from './blob.js'
import { type Descriptor, type ImageContent, readImage } from './manifest.js'
import { parseReference } from './reference.js'
import { type Credentials, Registry } from './registry.js'
import { ImageError } from './tar.js'

/** What all blobs of one image may take together. */
const maxBytes = 32 * 1024 ** 3
const transfersAtOnce = 3
/** How often the log of a build says how far a transfer is. */
const tellMs = 5000

interface PullOptions {
  credentials: Credentials | undefined
  /** Where blobs are kept, by digest. */
  blobs: string
  /** For those that are not complete yet; on the same file system. */
  temporary: string
  signal: AbortSignal
  onLog: (text: string) => void
}

/**
 * Fetches what an image consists of from its registry, except for what is kept from other images.
 * @returns its content, to be read from the kept blobs
 * @throws {ImageError}
 */
export async function pullImage (name: string, options: PullOptions): Promise<ImageContent> {
  const { credentials, signal, onLog } = options
  const reference = parseReference(name)
  const registry = new Registry(reference, credentials, signal)
  let left = maxBytes
  const keep = async (descriptor: Descriptor) => {
    left -= descriptor.size
    if (left < 0) throw new ImageError(`it is larger than ${maxBytes / 1024 ** 3} GiB, which is what the local emulator takes`)
    return await keepBlob(descriptor, registry, options)
  }
  try {
    onLog(`Pulling ${reference.repository}:${reference.version} from ${reference.host}\n`)
    const document = await registry.manifest(reference.version)
    const image = await readImage({ document, digest: digestOf(document, reference.version) }, {
      async * manifest ({ digest }) { yield await registry.manifest(digest) },
      async * blob (descriptor) { yield * createReadStream(await keep(descriptor)) }
    })
    const missing = image.layers.flatMap(({ blob }) => blob ?? [])
    await Promise.all(Array.from({ length: transfersAtOnce }, async () => {
      for (let next = missing.shift(); next !== undefined; next = missing.shift()) await keep(next)
    }))
    return image
  } finally {
    await registry.close()
  }
}

/** @throws {ImageError} when the manifest was asked for by another digest */
function digestOf (document: Buffer, version: string): string {
  const { algorithm } = version.includes(':') ? parseDigest(version) : { algorithm: 'sha256' }
  const digest = `${algorithm}:${createHash(algorithm).update(document).digest('hex')}`
  if (version.includes(':') && version !== digest) throw new ImageError(`the registry answers with something that does not have the digest ${version}`)
  return digest
}

/** @returns the path of a blob, which has been fetched and checked unless it was there */
async function keepBlob (
  { digest, size }: Descriptor, registry: Registry, { blobs, temporary, onLog }: PullOptions
): Promise<string> {
  const { algorithm, hex } = parseDigest(digest)
  const path = join(blobs, algorithm, hex)
  const label = `${hex.slice(0, 12)}: `
  if ((await stat(path).catch(() => undefined))?.size === size) {
    onLog(`${label}kept from before\n`)
    return path
  }
  await mkdir(dirname(path), { recursive: true })
  const part = join(temporary, `${hex.slice(0, 12)}-${randomBytes(6).toString('hex')}`)
  const file = await open(part, 'wx', 0o600)
  try {
    let [done, told] = [0, Date.now()]
    for await (const chunk of verified(registry.blob(digest, size), digest, 'what the registry sends')) {
      await file.writeFile(chunk)
      done += chunk.length
      if (Date.now() - told < tellMs) continue
      told = Date.now()
      onLog(`${label}${megabytes(done)} of ${megabytes(size)}\n`)
    }
    await file.close()
    await rename(part, path)
  } catch (error) {
    await file.close()
    await rm(part, { force: true })
    throw error
  }
  onLog(`${label}fetched, ${megabytes(size)}\n`)
  return path
}

export const megabytes = (bytes: number) => `${(bytes / 1e6).toFixed(1)} MB`
