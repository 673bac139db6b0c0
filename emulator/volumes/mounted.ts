import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { removeTree } from '../container/host.js'
import type { VolumeView } from '../container/setup.js'
import { ContainerError, type VolumeMount } from '../container/types.js'
import { Changes } from './changes.js'
import { isDirectory } from './entries.js'
import type { VolumeStore } from './store.js'

/** One container's private view of a volume: the committed state below, its own writes above. */
export class MountedVolume {
  readonly #store: VolumeStore
  readonly #mount: VolumeMount
  readonly #directory: string
  /** Directories from the volume's root to what is mounted. */
  readonly #subPath: string[]
  #generation = ''
  #layer = 0
  #changes: Changes
  #last: Promise<unknown> = Promise.resolve()
  /** The file system in which the view can be seen from the host; known once the container runs. */
  seenFrom: string | undefined

  private constructor (store: VolumeStore, mount: VolumeMount, directory: string) {
    this.#store = store
    this.#mount = mount
    this.#directory = directory
    this.#subPath = join('/', mount.subPath ?? '').split('/').filter(Boolean)
    this.#changes = new Changes(this.view().upper)
  }

  /** @throws {ContainerError} when the sub path leads over a link. */
  static async open (store: VolumeStore, mount: VolumeMount, directory: string): Promise<MountedVolume> {
    const volume = new MountedVolume(store, mount, directory)
    volume.#generation = await volume.#acquire()
    await volume.#makeLayer()
    return volume
  }

  view (): VolumeView {
    const layer = join(this.#directory, String(this.#layer))
    return {
      path: this.#mount.path,
      place: join(layer, 'view'),
      generation: join(this.#generation, ...this.#subPath),
      upper: join(layer, 'upper'),
      work: join(layer, 'work'),
      readOnly: this.#mount.readOnly
    }
  }

  /**
   * Makes what was written here the volume's committed state; what others committed meanwhile stays.
   * @returns paths that could not be copied, with the reason
   */
  async commit (): Promise<string[]> {
    return await this.#inTurn(async () => await this.#commit())
  }

  /** Commits, then shows the volume's latest state. Nothing changes when `remount` fails. */
  async reload (remount: (before: VolumeView, after: VolumeView) => Promise<void>): Promise<void> {
    await this.#inTurn(async () => { await this.#reload(remount) })
  }

  /** A commit must not read a layer that a reload is removing: what it does not find there counts as deleted. */
  async #inTurn<T> (work: () => Promise<T>): Promise<T> {
    const turn = this.#last.then(work)
    this.#last = turn.catch(() => {})
    return await turn
  }

  async #commit (): Promise<string[]> {
    const found = this.#mount.readOnly ? undefined : await this.#changes.find()
    if (found === undefined) return []
    const { place, generation: base } = this.view()
    const merged = this.seenFrom === undefined ? undefined : `${this.seenFrom}${place}`
    let failures: string[] = []
    await this.#store.commit(this.#mount.volumeId, async (state) => {
      failures = await this.#changes.apply(found, { base, merged, target: await this.#inside(state) })
    })
    return failures
  }

  async #reload (remount: (before: VolumeView, after: VolumeView) => Promise<void>): Promise<void> {
    if ((await this.#commit()).length > 0) {
      throw new ContainerError('failed', `not everything on ${this.#mount.path} could be committed, so it was not reloaded`)
    }
    const before = { generation: this.#generation, layer: this.#layer, changes: this.#changes, view: this.view() }
    this.#generation = await this.#acquire()
    this.#layer++
    this.#changes = new Changes(this.view().upper)
    await this.#makeLayer()
    try {
      await remount(before.view, this.view())
    } catch (error) {
      this.#store.release(this.#generation)
      this.#generation = before.generation
      this.#layer = before.layer
      this.#changes = before.changes
      throw error
    }
    this.#store.release(before.generation)
    await removeTree(join(this.#directory, String(before.layer))).catch(() => {})
  }

  release (): void {
    this.#store.release(this.#generation)
  }

  async #makeLayer () {
    const { upper, work, place } = this.view()
    await removeTree(join(upper, '..'))
    for (const path of [upper, work, place]) await mkdir(path, { recursive: true })
  }

  /** The volume's state now, with the sub path in it. */
  async #acquire (): Promise<string> {
    for (;;) {
      const generation = await this.#store.acquire(this.#mount.volumeId)
      if (this.#hasSubPath(generation)) return generation
      this.#store.release(generation)
      await this.#store.commit(this.#mount.volumeId, async (state) => { await this.#inside(state) })
    }
  }

  #hasSubPath (state: string): boolean {
    const paths = this.#subPath.map((_name, index) => join(state, ...this.#subPath.slice(0, index + 1)))
    return paths.every(isDirectory)
  }

  /** The sub path in a state that is being made. */
  async #inside (state: string): Promise<string> {
    let path = state
    for (const name of this.#subPath) {
      path = join(path, name)
      if (isDirectory(path)) continue
      await mkdir(path).catch((cause) => {
        throw new ContainerError('failed', `the sub path ${this.#mount.subPath} of a volume leads over a link or a file`, { cause })
      })
    }
    return path
  }
}
