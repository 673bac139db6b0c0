import { execFile, type ChildProcess } from 'node:child_process'
import { mkdir, readFile, rename, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'
import type { MountedVolume } from '../volumes/mounted.js'
import { launch } from './process.js'
import type { PipeMaker } from './pipes.js'
import { confined, quote, volumeCommand, type OverlayMount } from './setup.js'
import { inside, removeTree } from './tools.js'
import { ContainerError } from './types.js'
import type { Container, ContainerSpec, ExecSpec, ExitStatus, Process, PtySize } from './types.js'

const run = promisify(execFile)
/** Modal commits volumes in the background every few seconds; so does this, in milliseconds. */
const commitInterval = 5000
const fsTools = '/__modal/.bin/modal-sandbox-fs-tools'

export interface ContainerParts {
  spec: ContainerSpec
  /** In the mount namespace with the host's view; everything dies with it. */
  keeper: ChildProcess
  /** The container's first process, by its host pid. */
  initPid: number
  directory: string
  root: string
  overlays: OverlayMount[]
  volumes: MountedVolume[]
  userNamespace: boolean
  pipes: PipeMaker
  nsenter: string
  onStopped: () => void
}

/** A running container. Commands enter its namespaces one by one; volumes are views that are committed. */
export class NamespaceContainer implements Container {
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
    parts.keeper.once('exit', () => { this.stop().catch(() => {}) })
    if (parts.volumes.length > 0) {
      this.#background = setInterval(() => { this.commitVolumes().catch(() => {}) }, commitInterval).unref()
    }
  }

  /** Starts the entrypoint; the container ends when it does. */
  async startMain (): Promise<void> {
    const { spec } = this.#parts
    // A sleeper must not stand on a volume: nothing could be reloaded.
    const idle = { command: [...inside('sleep'), 'infinity'], workdir: '/' }
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

  async #enter ({ command, env, workdir, pty, timeoutSeconds, stdout, stderr }: ExecSpec) {
    const { spec, pipes, directory } = this.#parts
    const argv = command[0] === fsTools
      ? [...inside('node'), '/__modal/rt/fs-tools.mjs', ...command.slice(1)]
      : command
    const start = 'cd "$1" || exit 126; shift; exec "$@"'
    const process = await launch({
      argv: [
        ...this.#namespaces(), ...confined, ...inside('sh'), '-c', start, 'sh', workdir ?? spec.workdir,
        ...pty ? terminal(argv, pty) : argv
      ],
      env: { ...spec.env, ...pty && { TERM: pty.term, ...pty.colorTerm && { COLORTERM: pty.colorTerm } }, ...env },
      pipes,
      spool: join(directory, 'spools', String(this.#execs++)),
      ...stdout && { stdout },
      ...stderr && { stderr }
    })
    if (timeoutSeconds !== undefined) {
      const depth = pty === undefined ? 1 : 2
      const timer = setTimeout(async () => { await killCommand(process.pid, depth) }, timeoutSeconds * 1000)
      process.exited.then(() => { clearTimeout(timer) })
    }
    return process
  }

  #namespaces (): string[] {
    const { nsenter, initPid, userNamespace, spec } = this.#parts
    const user = userNamespace ? ['-U', '--preserve-credentials'] : []
    return [nsenter, ...user, '-t', String(initPid), '-m', '-p', '-i', '-u',
      ...spec.network === 'none' ? ['-n'] : []]
  }

  async commitVolumes (): Promise<void> {
    for (const volume of this.#parts.volumes) await volume.commit()
  }

  async reloadVolumes (): Promise<void> {
    if (this.#stopping !== undefined) throw new ContainerError('ended', 'the container has ended')
    this.#reloading = this.#reloading.catch(() => {}).then(async () => {
      for (const volume of this.#parts.volumes) await volume.reload(async (view) => { await this.#remount(view) })
    })
    await this.#reloading
  }

  /** Unmounting fails while a file is open there, as on Modal. */
  async #remount (view: ReturnType<MountedVolume['view']>): Promise<void> {
    const { root, userNamespace, nsenter, keeper } = this.#parts
    const mount = quote(`${root}${view.path}`)
    const script = `umount ${mount} && { ${volumeCommand(view, root, userNamespace)}; }`
    const entry = userNamespace ? ['-U', '--preserve-credentials'] : []
    await run(nsenter, [...entry, '-t', String(keeper.pid), '-m', '/bin/sh', '-c', script]).catch((cause) => {
      if (/busy/.test(String(cause.stderr))) {
        throw new ContainerError('busy', `there are open files preventing the operation on ${view.path}`, { cause })
      }
      throw new ContainerError('failed', `remounting ${view.path}`, { cause })
    })
  }

  async stop (): Promise<void> {
    this.#stopping ??= this.#stop()
    await this.#stopping
  }

  async #stop () {
    const { keeper, volumes, directory, onStopped } = this.#parts
    clearInterval(this.#background)
    await this.#killAll()
    await this.#reloading.catch(() => {})
    await this.commitVolumes().catch(() => {})
    const gone = keeper.exitCode !== null || keeper.signalCode !== null
      ? Promise.resolve()
      : new Promise((resolve) => { keeper.once('exit', resolve) })
    keeper.kill('SIGKILL')
    await gone
    const status = await Promise.race([this.main.exited, sleep(3000, { signal: 9 }, { ref: false })])
    for (const volume of volumes) volume.release()
    for (const name of ['upper', 'work']) await removeTree(join(directory, name)).catch(() => {})
    onStopped()
    this.#settle(status)
  }

  /** Everything but the first process, so that the volumes can still be read as they were seen inside. */
  async #killAll () {
    if (this.#parts.keeper.exitCode !== null || this.#parts.keeper.signalCode !== null) return
    await run(this.#namespaces()[0]!, [...this.#namespaces().slice(1), ...inside('sh'), '-c', 'kill -KILL -1'])
      .catch(() => {})
  }

  async saveLayer (directory: string): Promise<void> {
    const { overlays, keeper } = this.#parts
    clearInterval(this.#background)
    // First of all: the end of the entrypoint must not clean up what is to be kept.
    this.#stopping = Promise.resolve()
    await this.#killAll()
    keeper.kill('SIGKILL')
    await this.main.exited
    await mkdir(directory, { recursive: true })
    for (const name of ['dev', 'proc', 'sys', 'tmp', 'run', '__modal', 'etc/resolv.conf']) {
      await rm(join(overlays[0]!.upper, name), { recursive: true, force: true })
    }
    await rename(overlays[0]!.upper, join(directory, 'root'))
    if (overlays[1] !== undefined) await rename(overlays[1].upper, join(directory, 'usr'))
    await removeTree(this.#parts.directory)
    this.#parts.onStopped()
    this.#settle({ signal: 9 })
  }
}

/** `script` gives the command a terminal of the container's own; it takes one shell command, so all is quoted. */
function terminal (argv: string[], { rows, columns }: PtySize): string[] {
  const size = `${inside('stty').join(' ')} rows ${rows} cols ${columns}`
  return [...inside('script'), '-qefc', `${size}; exec ${argv.map(quote).join(' ')}`, '/dev/null']
}

/** Kills the command itself, some generations below the process that entered the namespaces, and nothing else. */
async function killCommand (pid: number, depth: number): Promise<void> {
  let target = pid
  for (let level = 0; level < depth; level++) {
    const children = await readFile(`/proc/${target}/task/${target}/children`, 'utf8').catch(() => '')
    const child = Number(children.split(' ')[0])
    if (!child) break
    target = child
  }
  try {
    process.kill(target, 'SIGKILL')
  } catch {
    // It has ended by itself in the meantime.
  }
}
