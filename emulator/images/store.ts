import { mkdir, readFile, rename, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { ContainerRuntime } from '../container/types.js'
import { contentId, objectId } from '../control/ids.js'
import { type Base, BaseImages } from './bases.js'
import { runLayer, type LayerState } from './layer.js'
import type { Credentials } from './oci/registry.js'

/** An image as it was built; the base's own settings count like those of instructions. */
export interface BuiltImage extends LayerState {
  imageId: string
  /** Of a snapshot, in milliseconds since the epoch: from then on it is no longer found. */
  expiresAt?: number
}

export interface BuildRequest {
  parent: BuiltImage | Base
  /** For the registry of a base; no part of the cache key. */
  credentials?: Credentials | undefined
  /** Dockerfile lines after FROM. */
  commands: string[]
  /** Build-time secrets: only this build's RUN sees them; their names are part of the cache key. */
  env: Record<string, string>
  forceBuild: boolean
  onLog: (text: string) => void
}

interface ImageStoreOptions {
  /** Where the images are kept. */
  dataDir: string
  runtime: Pick<ContainerRuntime, 'start'>
  /** By image tag: root directories, OCI layouts and archives. */
  images: Record<string, string>
}

/** Images as chains of layers over a base, kept in the data directory and cached by what they were built from. */
export class ImageStore {
  readonly #directory: string
  readonly #runtime: Pick<ContainerRuntime, 'start'>
  readonly #bases: BaseImages
  readonly #building = new Map<string, Promise<BuiltImage>>()

  constructor ({ dataDir, runtime, images }: ImageStoreOptions) {
    this.#directory = dataDir
    this.#runtime = runtime
    this.#bases = new BaseImages(dataDir, images)
  }

  /** The base behind a tag; nothing is pulled yet. */
  async base (tag: string): Promise<Base> {
    return await this.#bases.find(tag)
  }

  async byId (imageId: string): Promise<BuiltImage | undefined> {
    if (!/^im-[0-9A-Za-z]+$/.test(imageId)) return
    const text = await readFile(join(this.#directory, imageId, 'image.json'), 'utf8').catch(() => undefined)
    const image = text === undefined ? undefined : JSON.parse(text) as BuiltImage
    return (image?.expiresAt ?? Infinity) > Date.now() ? image : undefined
  }

  /**
   * Builds an image, or finds it in the cache.
   * @throws {BuildError} with what the author of the commands needs to know
   * @throws {ImageError} when the base cannot be had
   */
  async build (request: BuildRequest): Promise<BuiltImage> {
    const cached = await this.byId(this.idOf(request))
    if (cached !== undefined && !request.forceBuild) return cached
    if (request.forceBuild) return await this.#build(objectId('im'), request)
    const imageId = this.idOf(request)
    // The same image is not built twice at once: both builds would write the same layers.
    const other = this.#building.get(imageId)
    if (other !== undefined) return await other
    const build = this.#build(imageId, request).finally(() => { this.#building.delete(imageId) })
    this.#building.set(imageId, build)
    return await build
  }

  async #build (imageId: string, request: BuildRequest): Promise<BuiltImage> {
    const directory = join(this.#directory, imageId)
    await mkdir(directory, { recursive: true })
    const start: LayerState = 'imageId' in request.parent
      ? request.parent
      : await this.#bases.open(request.parent, request)
    const image = { imageId, ...await runLayer(this.#runtime, start, request, join(directory, 'layers')) }
    await writeFile(join(directory, 'image.json.new'), JSON.stringify(image))
    await rename(join(directory, 'image.json.new'), join(directory, 'image.json'))
    return image
  }

  /** Ends pulls that are going on. */
  async close (): Promise<void> {
    await this.#bases.close()
  }

  idOf ({ parent, commands, env }: BuildRequest): string {
    const from = 'imageId' in parent ? parent.imageId : parent
    return contentId('im', JSON.stringify([from, commands, Object.keys(env).sort()]))
  }
}
