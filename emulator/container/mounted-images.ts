import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { shellQuote } from '../lib/shell.js'
import type { Engine } from './engine.js'
import { removeTree } from './host.js'
import { overlaysOf } from './overlays.js'
import { enterExisting, overlayCommand, steps, withoutDirectory } from './setup.js'
import { ContainerError, type Rootfs } from './types.js'

interface Parts {
  engine: Engine
  /** The container's root, as the host sees it. */
  root: string
  /** Of the container. */
  directory: string
  local: string
  userNamespace: boolean
}

interface MountedImage { rootfs: Rootfs | undefined, directory: string, staging: string, isTwofold: boolean }

/** Images that are shown at paths of a running container. What is written there goes with the mount. */
export class MountedImages {
  readonly #parts: Parts
  readonly #mounted = new Map<string, MountedImage>()
  #count = 0
  #last: Promise<void> = Promise.resolve()

  constructor (parts: Parts) {
    this.#parts = parts
  }

  get rootfs (): Rootfs[] {
    return [...this.#mounted.values()].flatMap(({ rootfs }) => rootfs ?? [])
  }

  /** @param rootfs of the image; undefined: an empty directory */
  async mount (path: string, rootfs: Rootfs | undefined): Promise<void> {
    await this.#inTurn(async () => {
      if (this.#mounted.has(path)) throw new ContainerError('failed', `an image is already mounted at ${path}`)
      const { engine, root, local, userNamespace } = this.#parts
      const directory = join(this.#parts.directory, 'images', String(this.#count++))
      const at = (name: string) => join(directory, name)
      for (const name of ['root', 'upper', 'work', 'empty']) await mkdir(at(name), { recursive: true })
      const shown = rootfs ?? { base: { kind: 'directory' as const, path: at('empty') }, layers: [] }
      const overlays = await overlaysOf(shown, { local, root: at('root'), upper: at('upper'), work: at('work') })
      const staging = at('root')
      await engine.onHost(`set -e
${overlays.map((overlay) => overlayCommand(overlay, userNamespace)).join('\n')}
trap 'cd /; umount -R ${shellQuote(staging)}' EXIT
${enterExisting(root, steps(path))}
mount -c --rbind ${shellQuote(staging)} .
trap - EXIT`).catch(async (cause) => {
        await removeTree(directory)
        throw this.#failure(path, cause)
      })
      this.#mounted.set(path, { rootfs, directory, staging, isTwofold: overlays.length > 1 })
    })
  }

  async unmount (path: string): Promise<void> {
    await this.#inTurn(async () => {
      const mounted = this.#mounted.get(path)
      if (!mounted) throw new ContainerError('failed', `no image is mounted at ${path}`)
      const names = steps(path)
      const last = `./${names.at(-1)}`
      const staging = shellQuote(mounted.staging)
      await this.#parts.engine.onHost(`set -e
${enterExisting(this.#parts.root, names.slice(0, -1))}
${mounted.isTwofold ? `umount -c ${last}/usr\ntrap 'mount -c --bind ${staging}/usr ${last}/usr' EXIT` : ''}
umount -c ${last}
trap - EXIT
cd /
umount -R ${staging}`).catch((cause) => { throw this.#failure(path, cause) })
      this.#mounted.delete(path)
      await removeTree(mounted.directory)
    })
  }

  #inTurn (act: () => Promise<void>): Promise<void> {
    const result = this.#last.then(act)
    this.#last = result.catch(() => {})
    return result
  }

  #failure (path: string, cause: Error & { code?: unknown, stderr?: string }): Error {
    if (cause instanceof ContainerError) return cause
    const missing = withoutDirectory(path, cause)
    if (missing !== undefined) return missing
    if (/busy/.test(cause.stderr ?? '')) {
      return new ContainerError('busy', `there are open files preventing the operation on ${path}`, { cause })
    }
    return new ContainerError('failed', `the mount at ${path} could not be changed`, { cause })
  }
}
