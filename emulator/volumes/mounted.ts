import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { removeTree } from '../container/host.js'
import type { VolumeView } from '../container/setup.js'
import { ContainerError, type VolumeMount } from '../container/types.js'
import { Changes } from './changes.js'
import { commitError } from './commit-error.js'
import { isDirectory } from './entries.js'
import { recover } from './recover.js'
import type { VolumeStore } from './store.js'

/** One container's private view of a volume: an overlay of its own writes over the committed state. */
export class MountedVolume {
  readonly #store: VolumeStore
  readonly #mount: VolumeMount
  readonly #directory: string
  /** Names of the directories between the volume's root and the mounted one. */
  readonly #subPath: string[]
  #generation = ''
  #layer = 0
  #changes: Changes
  #last: Promise<unknown> = Promise.resolve()
  /** A host path to the root of the mount namespace that holds the view; set once the container runs. */
  namespaceRoot: string | undefined

  private constructor (store: VolumeStore, mount: VolumeMount, directory: string) {
    this.#store = store
    this.#mount = mount
    this.#directory = directory
    this.#subPath = join('/', mount.subPath ?? '').split('/').filter(Boolean)
    this.#changes = new Changes(this.view().upper)
  }

  /** @throws {ContainerError} when the sub path crosses a link */
  static async open (store: VolumeStore, mount: VolumeMount, directory: string): Promise<MountedVolume> {
    await recover(store, mount.volumeId)
    const volume = new MountedVolume(store, mount, directory)
    volume.#generation = await volume.#acquire()
    await volume.#makeLayer()
    return volume
  }

  view (): VolumeView {
    const layer = join(this.#directory, String(this.#layer))
    return {
      path: this.#mount.path,
      staging: join(layer, 'view'),
      generation: join(this.#generation, ...this.#subPath),
      upper: join(layer, 'upper'),
      work: join(layer, 'work'),
      readOnly: this.#mount.readOnly
    }
  }

  /**
   * Merges what was written here into the volume's committed state; what others committed meanwhile stays.
   * @param ended whether nobody writes here any more: files are then linked, which a full disk does not prevent
   * @returns paths that could not be copied, with the reason
   */
  async commit (ended = false): Promise<string[]> {
    return await this.#exclusive(async () => await this.#commit(ended))
  }

  /** Commits, then switches the view to the volume's latest state. Nothing changes when `remount` fails. */
  async reload (remount: (before: VolumeView, after: VolumeView) => Promise<void>): Promise<void> {
    await this.#exclusive(async () => { await this.#reload(remount) })
  }

  /** One operation at a time: a commit that read a layer while a reload removed it would take files for deleted. */
  async #exclusive<T> (work: () => Promise<T>): Promise<T> {
    const result = this.#last.then(work)
    this.#last = result.catch(() => {})
    return await result
  }

  async #commit (link = false): Promise<string[]> {
    const found = this.#mount.readOnly ? undefined : await this.#changes.find()
    if (found === undefined) return []
    const { staging, generation: base } = this.view()
    const merged = this.namespaceRoot === undefined ? undefined : `${this.namespaceRoot}${staging}`
    const { failures, accept } = await this.#store.commit(this.#mount.volumeId, async (state, scratch) => {
      const target = await this.#makeSubPath(state)
      return await this.#changes.apply(found, { base, merged, target, scratch, link, plain: this.#store.plain })
    })
    await accept()
    return failures
  }

  async #reload (remount: (before: VolumeView, after: VolumeView) => Promise<void>): Promise<void> {
    const failures = await this.#commit()
    if (failures.length > 0) throw commitError([{ path: this.#mount.path, failures }], 'so it was not reloaded')
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

  /** Keeps the writes that are not committed, for the next mount of the volume: the container is gone. */
  async setAside (): Promise<void> {
    const isWritten = !this.#mount.readOnly && await this.#changes.find() !== undefined
    if (isWritten) await this.#store.setAside(this.#mount.volumeId, this.view().upper, this.#subPath)
  }

  /** Where it is mounted in the container. */
  get path (): string {
    return this.#mount.path
  }

  release (): void {
    this.#store.release(this.#generation)
  }

  async #makeLayer () {
    const { upper, work, staging } = this.view()
    await removeTree(join(upper, '..'))
    for (const path of [upper, work, staging]) await mkdir(path, { recursive: true })
  }

  /** The volume's current state, after making sure that it has the sub path. */
  async #acquire (): Promise<string> {
    for (;;) {
      const generation = await this.#store.acquire(this.#mount.volumeId)
      if (this.#hasSubPath(generation)) return generation
      this.#store.release(generation)
      await this.#store.commit(this.#mount.volumeId, async (state) => { await this.#makeSubPath(state) })
    }
  }

  #hasSubPath (state: string): boolean {
    const paths = this.#subPath.map((_name, index) => join(state, ...this.#subPath.slice(0, index + 1)))
    return paths.every(isDirectory)
  }

  /** Creates the sub path in a state that is being built, and returns where it is. */
  async #makeSubPath (state: string): Promise<string> {
    let path = state
    for (const name of this.#subPath) {
      path = join(path, name)
      if (isDirectory(path)) continue
      await mkdir(path).catch((cause) => {
        throw new ContainerError('failed', `the sub path ${this.#mount.subPath} of a volume crosses a link or a file`, { cause })
      })
    }
    return path
  }
}
