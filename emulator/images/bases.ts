import { randomBytes } from 'node:crypto'
import { access, mkdir, rename } from 'node:fs/promises'
import { join } from 'node:path'
import { removeTree } from '../container/host.js'
import type { Rootfs } from '../container/types.js'
import type { LayerState } from './layer.js'
import { archiveImage, kindOf, layoutImage } from './oci/archive.js'
import { decompressed, verified } from './oci/blob.js'
import type { ImageContent } from './oci/manifest.js'
import { megabytes, pullImage } from './oci/pull.js'
import type { Credentials } from './oci/registry.js'
import { ImageError } from './oci/tar.js'
import { limits, Unpacker } from './oci/unpack.js'

/** After that, a pull is given up: a registry could send bytes for ever. */
const maxTimeMs = 3_600_000

/** What an image begins with. What is not a directory yet is unpacked, and unpacked again when `version` changes. */
export type Base = Rootfs['base'] |
  { kind: 'layout' | 'archive', tag: string, path: string, version: string } |
  { kind: 'registry', tag: string }

export interface OpenOptions {
  /** For the registry. */
  credentials?: Credentials | undefined
  onLog: (text: string) => void
}

/** The root file systems that images begin with: this machine's, configured ones, and those of registries. */
export class BaseImages {
  readonly #directory: string
  readonly #configured: Record<string, string>
  readonly #closing = new AbortController()
  readonly #opening = new Set<Promise<unknown>>()
  #isClean: Promise<void> | undefined

  /** @param configured paths by tag */
  constructor (directory: string, configured: Record<string, string>) {
    this.#directory = directory
    this.#configured = configured
  }

  /** The base behind a tag: a configured path, `local`, or else what a registry has. Nothing is read or pulled yet. */
  async find (tag: string): Promise<Base> {
    const path = Object.hasOwn(this.#configured, tag) ? this.#configured[tag] : undefined
    if (path === undefined) return tag === 'local' ? { kind: 'local' } : { kind: 'registry', tag }
    const { kind, version } = await kindOf(path)
    return kind === 'directory' ? { kind, path } : { kind, tag, path, version }
  }

  /** The base as a directory, and what its image says of itself. @throws {ImageError} naming the image */
  async open (base: Base, options: OpenOptions): Promise<LayerState> {
    if (base.kind === 'local' || base.kind === 'directory') return { rootfs: { base, layers: [] }, env: {} }
    const opening = this.#open(base, options)
    this.#opening.add(opening)
    try {
      return await opening
    } catch (error) {
      if (!(error instanceof ImageError)) throw error
      const where = base.kind === 'registry' ? '' : ` (${base.path})`
      throw new ImageError(`The image '${base.tag}'${where} cannot be used: ${error.message}.${base.kind === 'registry' ? hint : ''}`, { cause: error })
    } finally {
      this.#opening.delete(opening)
    }
  }

  /** Ends pulls that are going on. */
  async close (): Promise<void> {
    this.#closing.abort(new Error('the emulator ends'))
    await Promise.allSettled(this.#opening)
  }

  async #open (base: Exclude<Base, Rootfs['base']>, { credentials, onLog }: OpenOptions): Promise<LayerState> {
    const timeout = AbortSignal.timeout(maxTimeMs)
    const signal = AbortSignal.any([this.#closing.signal, timeout])
    const partial = join(this.#directory, 'partial')
    // What a killed emulator has left behind.
    await (this.#isClean ??= removeTree(partial))
    const temporary = join(partial, randomBytes(8).toString('hex'))
    await mkdir(temporary, { recursive: true, mode: 0o700 })
    try {
      const image = base.kind === 'registry'
        ? await pullImage(base.tag, { credentials, blobs: join(this.#directory, 'blobs'), temporary, signal, onLog })
        : await (base.kind === 'layout' ? layoutImage : archiveImage)(base.path, base.tag, join(temporary, 'archive'))
      return await this.#unpacked(image, join(temporary, 'root'), signal, onLog)
    } catch (error) {
      if (timeout.aborted) throw new ImageError(`it took longer than ${maxTimeMs / 60_000} minutes`, { cause: error })
      throw error
    } finally {
      await removeTree(temporary)
    }
  }

  async #unpacked (
    image: ImageContent, temporary: string, signal: AbortSignal, onLog: OpenOptions['onLog']
  ): Promise<LayerState> {
    const path = join(this.#directory, 'roots', image.digest.replace(':', '-'))
    if (await access(path).then(() => true, () => false)) {
      onLog(`${image.digest} is unpacked already\n`)
    } else {
      await mkdir(temporary, { mode: 0o700 })
      await mkdir(join(this.#directory, 'roots'), { recursive: true })
      await unpack(image, temporary, signal, onLog)
      // Another build may have been faster.
      await rename(temporary, path).catch(async (error) => { await access(path).catch(() => { throw error }) })
    }
    for (const name of image.droppedVariables) onLog(`The variable ${JSON.stringify(name)} is left out: no shell takes that name\n`)
    return { rootfs: { base: { kind: 'directory', path }, layers: [] }, ...image.config }
  }
}

const hint = ' Other images are \'local\' (this machine\'s system directories), and what EMULATOR_IMAGES maps a tag to'

async function unpack (image: ImageContent, directory: string, signal: AbortSignal, onLog: OpenOptions['onLog']): Promise<void> {
  const keepsOwners = process.getuid!() === 0
  const unpacker = new Unpacker(directory, { keepsOwners, signal })
  let total = 0
  for (const { name, diffId, open } of image.layers) {
    const counted = async function * () {
      for await (const chunk of decompressed(open())) {
        signal.throwIfAborted()
        total += chunk.length
        if (total > limits.bytes) throw new ImageError(`it is larger than ${limits.bytes / 1024 ** 3} GiB, which is what the local emulator takes`)
        yield chunk
      }
    }
    await unpacker.layer(verified(counted(), diffId, `the layer ${name}`))
  }
  await unpacker.finish()
  onLog(`Unpacked ${image.layers.length} layers, ${megabytes(total)}\n`)
  if (!keepsOwners) onLog('All files belong to root in sandboxes: only root can give them the owners they have in the image\n')
  for (const [kind, count] of unpacker.leftOut) onLog(`Left out: ${kind} (${count})\n`)
}
