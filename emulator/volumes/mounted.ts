import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import type { VolumeView } from '../container/setup.js'
import { removeTree } from '../container/tools.js'
import type { VolumeMount } from '../container/types.js'
import { Changes } from './changes.js'
import type { VolumeStore } from './store.js'

/** One container's private view of a volume: the committed state below, its own writes above. */
export class MountedVolume {
  readonly #store: VolumeStore
  readonly #mount: VolumeMount
  readonly #directory: string
  #generation: string
  #layer = 0
  #changes: Changes
  /** Where the view can be seen from the host; known once the container runs. */
  merged: string | undefined

  private constructor (store: VolumeStore, mount: VolumeMount, directory: string, generation: string) {
    this.#store = store
    this.#mount = mount
    this.#directory = directory
    this.#generation = generation
    this.#changes = new Changes(this.view().upper)
  }

  static async open (store: VolumeStore, mount: VolumeMount, directory: string): Promise<MountedVolume> {
    if (mount.subPath !== undefined) {
      const path = join('/', mount.subPath)
      await store.commit(mount.volumeId, async (state) => { await mkdir(join(state, path), { recursive: true }) })
    }
    const volume = new MountedVolume(store, mount, directory, await store.acquire(mount.volumeId))
    await volume.#makeLayer()
    return volume
  }

  view (): VolumeView {
    const layer = join(this.#directory, String(this.#layer))
    return {
      path: this.#mount.path,
      generation: this.#inside(this.#generation),
      upper: join(layer, 'upper'),
      work: join(layer, 'work'),
      readOnly: this.#mount.readOnly
    }
  }

  /** Makes what was written here the volume's committed state; what others committed meanwhile stays. */
  async commit (): Promise<void> {
    if (this.#mount.readOnly || !await this.#changes.any()) return
    const base = this.#inside(this.#generation)
    await this.#store.commit(this.#mount.volumeId, async (state) => {
      await this.#changes.apply({ base, merged: this.merged, target: this.#inside(state) })
    })
  }

  /** Commits, then shows the volume's latest state. Nothing changes when `remount` fails. */
  async reload (remount: (view: VolumeView) => Promise<void>): Promise<void> {
    await this.commit()
    const before = { generation: this.#generation, layer: this.#layer, changes: this.#changes }
    this.#generation = await this.#store.acquire(this.#mount.volumeId)
    this.#layer++
    this.#changes = new Changes(this.view().upper)
    await this.#makeLayer()
    try {
      await remount(this.view())
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
    const { upper, work } = this.view()
    await removeTree(join(upper, '..'))
    await mkdir(upper, { recursive: true })
    await mkdir(work)
  }

  #inside (generation: string): string {
    return this.#mount.subPath === undefined ? generation : join(generation, join('/', this.#mount.subPath))
  }
}
