import { EventEmitter, on } from 'node:events'
import { objectId } from '../control/ids.js'
import type { BuildRequest, BuiltImage, ImageStore } from './store.js'
import { isNoSpace, noSpaceText } from '../lib/no-space.js'
import type { Log } from '../log.js'
import { type GenericResult, type ImageGetOrCreateMessage, type ImageMessage, registryAuth, resultStatus } from '../proto/messages.js'
import type { Credentials } from './oci/registry.js'
import type { Secrets } from '../control/secrets.js'
import type { State } from '../control/state.js'
import { invalid, notFound, unimplemented } from '../control/status.js'

/** How long the log and result of a build are kept after its end. */
const keepEndedMs = 600_000

/** Log lines kept for late readers; a build that prints more loses its first ones. */
const keepLines = 5000

/** A build in the background: its log as it grows, and its result. */
class ImageBuild {
  readonly id: string
  /** Resolves once there is a result. Never rejects. */
  readonly finished: Promise<void>
  result: GenericResult | undefined
  readonly #lines: string[] = []
  #dropped = 0
  readonly #changes = new EventEmitter().setMaxListeners(0)

  constructor (id: string, work: (onLog: (text: string) => void) => Promise<unknown>) {
    this.id = id
    this.finished = work((text) => this.#append(text)).then(
      () => this.#finish({ status: resultStatus.success }),
      (error: Error) => {
        this.#finish({ status: resultStatus.failure, exception: isNoSpace(error) ? noSpaceText : error.message })
      }
    )
  }

  /** Numbered log entries after number `after`; ends with the build, or when the signal is aborted. */
  async * follow (after: number, signal: AbortSignal): AsyncGenerator<{ number: number, text: string }> {
    let next = after
    const changes = on(this.#changes, 'change', { signal })
    try {
      while (true) {
        for (next = Math.max(next, this.#dropped); next < this.#dropped + this.#lines.length; next++) {
          yield { number: next + 1, text: this.#lines[next - this.#dropped]! }
        }
        if (this.result) return
        await changes.next()
      }
    } catch (error) {
      if (!signal.aborted) throw error
    } finally {
      await changes.return?.()
    }
  }

  #append (text: string): void {
    this.#lines.push(text)
    if (this.#lines.length > keepLines) {
      this.#lines.shift()
      this.#dropped++
    }
    this.#changes.emit('change')
  }

  #finish (result: GenericResult): void {
    this.result = result
    this.#changes.emit('change')
  }
}

/** Image ids and the builds behind them. As on Modal, the same content has the same id. */
export class ImageBuilds {
  readonly #state: State
  readonly #store: ImageStore
  readonly #secrets: Secrets
  readonly #log: Log
  readonly #builds = new Map<string, ImageBuild>()

  constructor (state: State, store: ImageStore, secrets: Secrets, log: Log) {
    this.#state = state
    this.#store = store
    this.#secrets = secrets
    this.#log = log
  }

  /**
   * The image that a request describes: its id, and the build unless the image exists.
   * @throws {StatusError} NOT_FOUND, INVALID_ARGUMENT or UNIMPLEMENTED, but not when the build fails
   */
  async request (message: ImageGetOrCreateMessage): Promise<{ id: string, build?: ImageBuild }> {
    if (message.existingImageId !== '') return { id: (await this.built(message.existingImageId)).imageId }
    const { image } = message
    if (!image) throw invalid('image is missing')
    refuseUnsupported(image)
    const { from, commands } = recipe(image)
    const parent = await (image.baseImages.length > 0 ? this.built(baseOf(image, from)) : this.#store.base(from))
    const request = { parent, commands: [...this.#cacheComments(image), ...commands], ...this.#options(message, image) }
    return message.forceBuild || message.ignoreCache ? this.#forced(request) : this.#cached(request)
  }

  /** A build started by this server. @throws {StatusError} NOT_FOUND */
  build (id: string): ImageBuild {
    const build = this.#builds.get(id)
    if (build) return build
    throw notFound(`Could not find image build with ID ${id}`)
  }

  /** @throws {StatusError} NOT_FOUND for an image that was never built or has been deleted */
  async built (id: string): Promise<BuiltImage> {
    const { deletedImages, imageAliases } = this.#state.records
    const image = deletedImages.includes(id) ? undefined : await this.#store.byId(imageAliases[id] ?? id)
    if (image) return { ...image, imageId: id }
    throw notFound(`Could not find image with ID ${id}`)
  }

  /** Forgets the id; the layers stay, because other images may be built on them. */
  async delete (id: string): Promise<void> {
    await this.built(id).catch(() => { throw notFound(`No Image with ID ${id}`) })
    const { records } = this.#state
    records.deletedImages.push(id)
    for (const [tag, tagged] of Object.entries(records.imageTags)) if (tagged === id) delete records.imageTags[tag]
    await this.#state.save()
  }

  async #cached (request: Omit<BuildRequest, 'onLog'>): Promise<{ id: string, build?: ImageBuild }> {
    const id = this.#store.idOf({ ...request, onLog: () => {} })
    await this.#undelete(id)
    if (await this.#store.byId(id)) return { id }
    // No await from here on: the same content must not be built twice at once.
    const other = this.#builds.get(id)
    if (other && other.result?.status !== resultStatus.failure) return { id, build: other }
    return this.#start(id, (onLog) => this.#store.build({ ...request, onLog }))
  }

  /** The client needs an id at once, but the store assigns one only when the build is done: hence an alias. */
  #forced (request: Omit<BuildRequest, 'onLog'>): { id: string, build: ImageBuild } {
    const id = objectId('im')
    return this.#start(id, async (onLog) => {
      const { imageId } = await this.#store.build({ ...request, onLog })
      this.#state.records.imageAliases[id] = imageId
      await this.#state.save()
    })
  }

  #start (id: string, work: (onLog: (text: string) => void) => Promise<unknown>): { id: string, build: ImageBuild } {
    const build = new ImageBuild(id, work)
    this.#builds.set(id, build)
    build.finished.then(() => {
      this.#log.info({ imageId: id, status: build.result?.status }, 'emulator: an image build ended')
      setTimeout(() => { if (this.#builds.get(id) === build) this.#builds.delete(id) }, keepEndedMs).unref()
    }, () => {})
    return { id, build }
  }

  #options ({ forceBuild, ignoreCache }: ImageGetOrCreateMessage, { secretIds, imageRegistryConfig }: ImageMessage) {
    return {
      env: this.#secrets.values(secretIds),
      credentials: imageRegistryConfig?.secretId ? this.#credentials(imageRegistryConfig.secretId) : undefined,
      forceBuild: forceBuild || ignoreCache
    }
  }

  #credentials (secretId: string): Credentials {
    const { REGISTRY_USERNAME: username, REGISTRY_PASSWORD: password } = this.#secrets.values([secretId])
    if (username !== undefined && password !== undefined) return { username, password }
    throw invalid('The secret for a registry must have the keys REGISTRY_USERNAME and REGISTRY_PASSWORD')
  }

  /**
   * A comment changes only the cache key: other secrets, or other values of inline ones, make another image. So nobody
   * gets the image of a registry that lets others in.
   */
  #cacheComments ({ secretIds, imageRegistryConfig }: ImageMessage): string[] {
    const names = (ids: string[]) => this.#secrets.cacheNames(ids).join(' ')
    return [
      ...secretIds.length === 0 ? [] : [`# secrets: ${names(secretIds)}`],
      ...imageRegistryConfig?.secretId ? [`# registry: ${names([imageRegistryConfig.secretId])}`] : []
    ]
  }

  async #undelete (id: string): Promise<void> {
    const { records } = this.#state
    if (!records.deletedImages.includes(id)) return
    records.deletedImages = records.deletedImages.filter((deleted) => deleted !== id)
    await this.#state.save()
  }
}

function refuseUnsupported (image: ImageMessage): void {
  if (image.gpuConfig?.count || image.gpuConfig?.gpuType || image.gpuConfig?.type) throw unimplemented('it has no GPUs')
  if (image.contextFiles.length > 0 || image.contextMountId !== '') throw unimplemented('COPY from a build context')
  if (image.buildFunction || image.buildFunctionDef !== '') throw unimplemented('build functions')
  if (image.volumeMounts.length > 0) throw unimplemented('volumes in image builds')
  const { registryAuthType = 0 } = image.imageRegistryConfig ?? {}
  if (registryAuthType === registryAuth.aws || registryAuthType === registryAuth.gcp) {
    throw unimplemented('registries of AWS and Google Cloud by their own secrets: use fromRegistry with REGISTRY_USERNAME and REGISTRY_PASSWORD')
  }
  if (Object.keys(image.buildArgs).length > 0) throw unimplemented('build arguments')
}

/** @throws {StatusError} INVALID_ARGUMENT when there is no FROM */
function recipe ({ dockerfileCommands: [first = '', ...commands] }: ImageMessage): { from: string, commands: string[] } {
  const from = /^\s*FROM\s+(\S+)\s*$/i.exec(first)?.[1]
  if (from === undefined) throw invalid(`An image must begin with FROM and a tag, got: ${first}`)
  return { from, commands }
}

function baseOf (image: ImageMessage, from: string): string {
  const base = image.baseImages.find(({ dockerTag }) => dockerTag === from)
  if (base) return base.imageId
  throw invalid(`No base image is called ${from}`)
}
