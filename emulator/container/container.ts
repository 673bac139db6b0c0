import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { maxTimerMs } from '../lib/timers.js'
import type { MountedVolume } from '../volumes/mounted.js'
import type { Engine } from './engine.js'
import { removeTree } from './host.js'
import { keepLayer } from './layer.js'
import type { OverlayMount } from './setup.js'
import type { Supervisor } from './supervisor.js'
import { toolboxCommand } from './toolbox.js'
import { ContainerError, type Container, type ContainerSpec, type ExecSpec, type ExitStatus, type Process } from './types.js'

/** Modal commits volumes in the background every few seconds; so does this. */
const commitIntervalMs = 5000

interface ContainerParts {
  spec: ContainerSpec
  /** Holds the mount namespace that has the host's view; the whole container dies with it. */
  supervisor: Supervisor
  engine: Engine
  directory: string
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
  #stopping: Promise<void> | undefined
  #reloading: Promise<void> = Promise.resolve()
  #background: NodeJS.Timeout | undefined
  #settle!: (status: ExitStatus) => void

  constructor (parts: ContainerParts) {
    this.#parts = parts
    this.exited = new Promise((resolve) => { this.#settle = resolve })
    parts.supervisor.ended.then(() => { this.stop().catch(() => {}) })
    if (parts.volumes.length > 0) {
      this.#commitLater(commitIntervalMs)
    }
  }

  /** Commits in the background, then pauses at least as long as the commit took: commits use half the time at most. */
  #commitLater (pause: number) {
    this.#background = setTimeout(async () => {
      const start = performance.now()
      await this.commitVolumes().catch(() => {})
      if (this.#stopping === undefined) this.#commitLater(Math.max(commitIntervalMs, performance.now() - start))
    }, pause).unref()
  }

  /** Starts the entrypoint; the container ends when it does. */
  async startMain (): Promise<void> {
    const { spec } = this.#parts
    // Not in the workdir: a process with its working directory on a volume would block every reload.
    const idle = { command: [...toolboxCommand('sleep'), 'infinity'], workdir: '/' }
    const main = spec.command.length > 0 ? { command: spec.command } : idle
    this.main = await this.#enter({ ...main, ...(spec.pty && { pty: spec.pty }) })
    this.main.exited.then(async () => { await this.stop() })
  }

  get activeExecs (): number {
    return this.#running.size
  }

  async exec (spec: ExecSpec): Promise<Process> {
    if (this.#stopping !== undefined) throw new ContainerError('ended', 'the container has ended')
    const process = await this.#enter(spec)
    this.#running.add(process)
    process.exited.then(() => { this.#running.delete(process) })
    return process
  }

  async #enter (exec: ExecSpec) {
    const { spec, engine, directory } = this.#parts
    const { pty, timeoutSeconds } = exec
    const terminal = pty && { TERM: pty.term, ...pty.colorTerm && { COLORTERM: pty.colorTerm } }
    const env = { ...spec.env, ...terminal, ...exec.env }
    const spool = join(directory, 'spools', String(this.#execs++))
    const process = await engine.enter({ workdir: spec.workdir, ...exec, env }, spool)
    if (timeoutSeconds !== undefined) {
      const timer = setTimeout(async () => { await process.kill() }, Math.min(timeoutSeconds * 1000, maxTimerMs))
      process.exited.then(() => { clearTimeout(timer) })
    }
    return process
  }

  async commitVolumes (): Promise<void> {
    const { volumes, spec, warn } = this.#parts
    for (const volume of volumes) {
      const failures = await volume.commit()
      const files = failures.slice(0, 10)
      if (failures.length === 0) continue
      warn({ container: spec.id, files, count: failures.length }, 'emulator: files on a volume could not be committed')
    }
  }

  async reloadVolumes (): Promise<void> {
    if (this.#stopping !== undefined) throw new ContainerError('ended', 'the container has ended')
    this.#reloading = this.#reloading.catch(() => {}).then(async () => {
      const { volumes, engine } = this.#parts
      for (const volume of volumes) await volume.reload(engine.remount.bind(engine))
    })
    await this.#reloading
  }

  async stop (): Promise<void> {
    this.#stopping ??= this.#stop()
    await this.#stopping
  }

  async #stop () {
    const { volumes, directory, spec, warn, onStopped } = this.#parts
    clearTimeout(this.#background)
    await this.#parts.engine.killAll()
    await this.#reloading.catch(() => {})
    await this.commitVolumes().catch((err: unknown) => {
      warn({ err, container: spec.id }, 'emulator: the final commit of a volume failed; writes since the previous commit are lost')
    })
    await this.#parts.supervisor.end()
    const status = await Promise.race([this.main?.exited, sleep(3000, { signal: 9 }, { ref: false })]) ?? { signal: 9 }
    for (const volume of volumes) volume.release()
    const names = ['root', 'upper', 'work', ...volumes.map((_volume, index) => `volume-${index}`)]
    await removeTree(...names.map((name) => join(directory, name))).catch(() => {})
    onStopped()
    this.#settle(status)
  }

  async discard (): Promise<void> {
    await this.stop()
    await removeTree(this.#parts.directory)
  }

  async saveLayer (directory: string): Promise<void> {
    const { overlays, onStopped } = this.#parts
    clearTimeout(this.#background)
    // Set first: otherwise the end of the entrypoint would trigger a stop, which removes what is to be kept.
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
