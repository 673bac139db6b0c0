import type { Socket } from 'node:net'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { isNoSpace } from '../lib/no-space.js'
import { maxTimerMs } from '../lib/timers.js'
import { together } from '../lib/together.js'
import { VolumeCommits } from '../volumes/commits.js'
import type { MountedVolume } from '../volumes/mounted.js'
import type { Strictness } from '../strict.js'
import { fsTools } from './command.js'
import { Connector, connectHere } from './connector.js'
import type { Engine } from './engine.js'
import { removeTree } from './host.js'
import type { MemoryWatch } from './memory-watch.js'
import { keepLayer } from './layer.js'
import { listenerAmong } from './listeners.js'
import { MountedImages } from './mounted-images.js'
import { enterNetwork, networkOfOther } from './network.js'
import type { Layout, OverlayMount } from './setup.js'
import { copyDirectory, copyLayer } from './snapshot.js'
import type { Limits } from './spool.js'
import type { Supervisor } from './supervisor.js'
import { toolboxCommand } from './toolbox.js'
import { ContainerError, type Container, type ContainerSpec, type ExecSpec, type ExitStatus, type Network, type Process, type Rootfs } from './types.js'

const mebibyte = 1024 * 1024

/** After how long a container whose volumes could not be committed tries to stop again. */
const stopAgainMs = 10_000

interface ContainerParts {
  spec: ContainerSpec
  strictness: Strictness
  memoryWatch: MemoryWatch | undefined
  /** Holds the mount namespace that has the host's view; the whole container dies with it. */
  supervisor: Supervisor
  engine: Engine
  directory: string
  /** The directory of the base `local`. */
  local: string
  /** The directory of the toolbox. */
  toolbox: string
  userNamespace: boolean
  network: Layout['network']
  overlays: OverlayMount[]
  volumes: MountedVolume[]
  /** Logs what could not be committed. */
  warn: (details: object, message: string) => void
  onStopped: () => void
}

/** A running container. Its volumes are private views that get committed. */
export class LocalContainer implements Container {
  /** Set by {@link startMain}, before anyone else gets hold of the container. */
  main!: Process
  readonly exited: Promise<ExitStatus>
  readonly #parts: ContainerParts
  readonly #running = new Set<Process>()
  #execs = 0
  readonly #commits: VolumeCommits
  readonly #images: MountedImages
  readonly #connector: Connector | undefined
  /** For who listens on a port. */
  readonly #looks = new Map<number, () => Promise<string | undefined>>()
  #isOver = false
  #stopping: Promise<void> | undefined
  #stopAgain: NodeJS.Timeout | undefined
  #stopFailure: Error | undefined
  #reloading: Promise<void> = Promise.resolve()
  #isOutOfMemory = false
  #settle!: (status: ExitStatus) => void

  constructor (parts: ContainerParts) {
    this.#parts = parts
    this.exited = new Promise((resolve) => { this.#settle = resolve })
    parts.supervisor.ended.then(() => { this.stop().catch(() => {}) })
    const { engine, directory, local, userNamespace, network, supervisor: { pid } } = parts
    if (typeof network === 'object') {
      this.#connector = new Connector(enterNetwork(network, pid, userNamespace))
      this.exited.then(() => { this.#connector?.close() })
    }
    this.#images = new MountedImages({ engine, directory, local, userNamespace, root: join(directory, 'root') })
    this.#commits = new VolumeCommits({ volumes: parts.volumes, container: parts.spec.id, log: { warn: parts.warn } })
  }

  /** Starts the entrypoint; the container ends when it does. */
  async startMain (): Promise<void> {
    const { spec } = this.#parts
    // Not in the workdir: a process with its working directory on a volume would block every reload.
    const idle = { command: [...toolboxCommand('sleep'), 'infinity'], workdir: '/', user: 'root' }
    const main = spec.command.length > 0 ? { command: spec.command } : idle
    const entered = spec.entrypoint?.length ? { command: [...spec.entrypoint, ...main.command] } : main
    this.#limitMemory()
    this.main = await this.#enter({ ...entered, ...(spec.pty && { pty: spec.pty }) })
    this.main.exited.then(async () => { await this.stop() }).catch(() => {})
  }

  get isOutOfMemory (): boolean {
    return this.#isOutOfMemory
  }

  #limitMemory (): void {
    const { spec: { limits }, memoryWatch, engine: { initPid } } = this.#parts
    if (memoryWatch === undefined || limits?.memoryBytes === undefined || initPid === undefined) return
    const release = memoryWatch.add(initPid, limits.memoryBytes, () => {
      this.#isOutOfMemory = true
      this.stop().catch(() => {})
    })
    this.exited.then(release, release)
  }

  get activeExecs (): number {
    return this.#running.size
  }

  async exec (spec: ExecSpec): Promise<Process> {
    this.#checkRunning()
    const process = await this.#enter(spec, this.#limits(spec))
    this.#running.add(process)
    process.exited.then(() => { this.#running.delete(process) })
    return process
  }

  /** The SDK waits for the end of its own tools before it reads what they say, however much that is. */
  #limits ({ command }: ExecSpec): Limits {
    const { sockets: unread } = this.#parts.strictness
    if (unread === undefined || command[0] === fsTools) return {}
    return { segmentBytes: mebibyte / 4, keptBytes: unread * mebibyte }
  }

  async #enter (exec: ExecSpec, limits: Limits = {}) {
    const { spec, engine, directory } = this.#parts
    const { pty, timeoutSeconds } = exec
    const terminal = pty && { TERM: pty.term, ...pty.colorTerm && { COLORTERM: pty.colorTerm } }
    const env = { ...spec.env, ...terminal, ...exec.env }
    const spool = join(directory, 'spools', String(this.#execs++))
    const defaults = { workdir: spec.workdir, ...spec.user !== undefined && { user: spec.user } }
    const process = await engine.enter({ ...defaults, ...exec, env }, spool, limits)
    if (timeoutSeconds !== undefined) {
      const timer = setTimeout(async () => { await process.kill() }, Math.min(timeoutSeconds * 1000, maxTimerMs))
      process.exited.then(() => { clearTimeout(timer) })
    }
    return process
  }

  async commitVolumes (): Promise<void> {
    await this.#commits.commit()
  }

  async reloadVolumes (): Promise<void> {
    this.#checkRunning()
    this.#reloading = this.#reloading.catch(() => {}).then(async () => {
      const { volumes, engine } = this.#parts
      for (const volume of volumes) await volume.reload(engine.remount.bind(engine))
    })
    await this.#reloading
  }

  async listener (port: number): Promise<string | undefined> {
    if (this.#isOver) return undefined
    // A look at all that the processes have open takes milliseconds, and a page makes hundreds of connections.
    const { engine } = this.#parts
    const look = this.#looks.get(port) ?? together(async () => await listenerAmong(await engine.pids(), port))
    this.#looks.set(port, look)
    return await look()
  }

  async connect (port: number): Promise<Socket | undefined> {
    const host = await this.listener(port)
    if (host === undefined) return undefined
    return await (this.#connector ? this.#connector.connect(host, port) : connectHere(host, port))
  }

  get network (): Network | undefined {
    const { network, supervisor, userNamespace } = this.#parts
    if (network === 'host') return network
    // Only its own supervisor's user namespace may join it.
    return network === 'none' || userNamespace ? undefined : networkOfOther(network.file, supervisor.pid)
  }

  get rootfs (): Rootfs[] {
    return [this.#parts.spec.rootfs, ...this.#images.rootfs]
  }

  async copyLayer (directory: string): Promise<void> {
    await this.#whileRunning(async () => { await copyLayer(this.#parts, this.#parts.overlays, directory) })
  }

  async copyDirectory (path: string, directory: string): Promise<void> {
    const root = join(this.#parts.directory, 'root')
    await this.#whileRunning(async () => { await copyDirectory(this.#parts, root, path, directory) })
  }

  /** What has ended meanwhile was removed in part: whatever came of it is not whole. */
  async #whileRunning (copy: () => Promise<void>): Promise<void> {
    this.#checkRunning()
    try {
      await copy()
    } finally {
      this.#checkRunning()
    }
  }

  async mountImage (path: string, rootfs: Rootfs | undefined): Promise<void> {
    this.#checkRunning()
    await this.#images.mount(path, rootfs)
  }

  async unmountImage (path: string): Promise<void> {
    this.#checkRunning()
    await this.#images.unmount(path)
  }

  #checkRunning (): void {
    if (this.#isOver) throw new ContainerError('ended', 'the container has ended')
  }

  async stop (): Promise<void> {
    this.#isOver = true
    this.#stopping ??= this.#stop().catch((error) => {
      this.#stopping = undefined
      this.#stopFailure = error
      this.#stopAgain = setTimeout(() => { this.stop().catch(() => {}) }, stopAgainMs).unref()
      throw error
    })
    await this.#stopping
  }

  get stopFailure (): Error | undefined {
    return this.#stopFailure
  }

  async #stop () {
    const { volumes, directory, engine, onStopped } = this.#parts
    const hasFailed = this.#stopFailure !== undefined
    this.#stopFailure = undefined
    clearTimeout(this.#stopAgain)
    const isDead = await engine.killAll()
    await this.#reloading.catch(() => {})
    await this.#commits.final(isDead).catch(async (error: unknown) => {
      // Trying again does not help against anything else than a full disk; it was told.
      if (!isNoSpace(error) && hasFailed) return
      if (!isNoSpace(error) || !isDead) throw error
      // What it has written beside its volumes goes with it in any case, and may be what fills the disk.
      await removeTree(join(directory, 'upper'))
      await this.#commits.final(isDead)
    })
    await this.#parts.supervisor.end()
    const status = await Promise.race([this.main?.exited, sleep(3000, { signal: 9 }, { ref: false })]) ?? { signal: 9 }
    for (const volume of volumes) volume.release()
    const names = ['root', 'upper', 'work', 'images', 'copy', ...volumes.map((_volume, index) => `volume-${index}`)]
    await removeTree(...names.map((name) => join(directory, name))).catch(() => {})
    onStopped()
    this.#settle(status)
  }

  /** Ends it even though its volumes can't be committed; their writes are kept until the volume is mounted again. */
  async abandon (): Promise<void> {
    clearTimeout(this.#stopAgain)
    await this.#parts.supervisor.end()
    for (const volume of this.#parts.volumes) await volume.setAside()
  }

  async discard (): Promise<void> {
    await this.stop()
    await removeTree(this.#parts.directory)
  }

  async saveLayer (directory: string): Promise<void> {
    const { overlays, onStopped } = this.#parts
    this.#commits.stop()
    // Set first: otherwise the end of the entrypoint would trigger a stop, which removes what is to be kept.
    this.#isOver = true
    this.#stopping = Promise.resolve()
    await this.#parts.engine.killAll()
    await this.#parts.supervisor.end()
    await this.main.exited
    await keepLayer(overlays, directory)
    await removeTree(this.#parts.directory)
    onStopped()
    this.#settle({ signal: 9 })
  }
}
