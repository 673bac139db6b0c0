import { mkdir, readdir, readFile, rename, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { removeTree } from '../container/host.js'
import type { Container, Rootfs } from '../container/types.js'
import { objectId } from '../control/ids.js'
import { settingsOf } from './layer.js'
import type { BuiltImage } from './store.js'

/** How long the files of an expired image stay: a sandbox may be about to start from it. */
const graceMs = 10 * 60_000

const unfinished = '.new'

interface Options {
  /** Where the images are kept. */
  directory: string
  /** What running containers are made of. */
  inUse: () => Rootfs[]
  /** Ids that were deleted by request. */
  deleted: () => string[]
}

/** An image that was made from a running sandbox, in the directory of its id. */
interface Snapshot extends BuiltImage {
  /** In milliseconds since the epoch. */
  createdAt: number
}

/** Images made of running sandboxes. They survive the emulator, and go once they are over and nothing needs them. */
export class Snapshots {
  readonly #options: Options

  constructor (options: Options) {
    this.#options = options
  }

  /**
   * An image of all that a sandbox sees, without its volumes and mounted images.
   * @param seconds to live; undefined: for ever
   */
  async ofFilesystem (container: Container, image: BuiltImage, seconds: number | undefined): Promise<string> {
    return await this.#make(seconds, async (imageId, draft) => {
      await container.copyLayer(join(draft, 'layer'))
      const { rootfs } = image
      const layers = [...rootfs.layers, join(this.#options.directory, imageId, 'layer')]
      return { ...settingsOf(image), rootfs: { ...rootfs, layers } }
    })
  }

  /** An image of what one directory of a sandbox holds. */
  async ofDirectory (container: Container, path: string, seconds: number | undefined): Promise<string> {
    return await this.#make(seconds, async (imageId, draft) => {
      await container.copyDirectory(path, join(draft, 'root'))
      const kept = join(this.#options.directory, imageId, 'root')
      return { env: {}, rootfs: { base: { kind: 'directory', path: kept }, layers: [] } }
    })
  }

  /** Removes what was never finished: for the start, when nothing is being made. */
  async removeUnfinished (): Promise<void> {
    const { directory } = this.#options
    const names = (await readdir(directory)).filter((name) => name.endsWith(unfinished))
    await removeTree(...names.map((name) => join(directory, name)))
  }

  /** Removes the files of snapshots that are over, unless other images or running sandboxes are made of them. */
  async collect (now = Date.now()): Promise<void> {
    const images = await this.#all()
    const deleted = this.#options.deleted()
    const isOver = ({ imageId, createdAt, expiresAt = Infinity }: Snapshot) =>
      createdAt !== undefined && now > Math.min(expiresAt, deleted.includes(imageId) ? createdAt : Infinity) + graceMs
    const kept = images.filter((image) => !isOver(image)).map(({ rootfs }) => rootfs)
    const needed = [...kept, ...this.#options.inUse()].flatMap(({ base, layers }) =>
      base.kind === 'directory' ? [base.path, ...layers] : layers)
    for (const { imageId } of images.filter(isOver)) {
      const directory = join(this.#options.directory, imageId)
      if (!needed.some((path) => path.startsWith(`${directory}/`))) await removeTree(directory)
    }
  }

  async #all (): Promise<Snapshot[]> {
    const names = await readdir(this.#options.directory)
    const texts = await Promise.all(names.map((name) =>
      readFile(join(this.#options.directory, name, 'image.json'), 'utf8').catch(() => undefined)))
    return texts.flatMap((text) => text === undefined ? [] : [JSON.parse(text) as Snapshot])
  }

  /** The image appears complete, under its name. */
  async #make (
    seconds: number | undefined, fill: (imageId: string, draft: string) => Promise<Omit<BuiltImage, 'imageId'>>
  ): Promise<string> {
    const imageId = objectId('im')
    const directory = join(this.#options.directory, imageId)
    const draft = `${directory}${unfinished}`
    await mkdir(draft)
    try {
      const createdAt = Date.now()
      const image: Snapshot = { imageId, createdAt, ...await fill(imageId, draft) }
      if (seconds !== undefined) image.expiresAt = createdAt + seconds * 1000
      await writeFile(join(draft, 'image.json'), JSON.stringify(image))
      await rename(draft, directory)
      return imageId
    } catch (error) {
      await removeTree(draft)
      throw error
    }
  }
}
