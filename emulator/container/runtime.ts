import { createHash } from 'node:crypto'
import { mkdir, realpath } from 'node:fs/promises'
import { join } from 'node:path'
import { MountedVolume } from '../volumes/mounted.js'
import { VolumeStore } from '../volumes/store.js'
import { Cgroups } from './cgroups.js'
import { LocalContainer } from './container.js'
import { GvisorLauncher } from './gvisor/launcher.js'
import { hostTool, removeTree } from './host.js'
import type { Launcher } from './launcher.js'
import { NamespaceLauncher } from './namespaces/launcher.js'
import { overlaysOf } from './overlays.js'
import { PipeMaker } from './pipes.js'
import { cleanDirectory, prepareBase } from './prepare.js'
import { selfTest } from './self-test.js'
import { Supervisor } from './supervisor.js'
import type { Container, ContainerRuntime, ContainerSpec, Rootfs, RuntimeOptions, SelfTest } from './types.js'

/** Returns while the toolbox and the base image are still being prepared; the first container waits for them. */
export async function createRuntime (given: RuntimeOptions): Promise<ContainerRuntime> {
  // The setup scripts compare paths with `pwd -P`.
  await mkdir(given.dataDir, { recursive: true })
  const options = { ...given, dataDir: await realpath(given.dataDir) }
  await cleanDirectory(options.dataDir)
  const pipes = new PipeMaker(join(options.dataDir, 'containers'), await hostTool('mkfifo'))
  const namespaces = new NamespaceLauncher(pipes, { nsenter: await hostTool('nsenter'), perl: await hostTool('perl') })
  const cgroups = await Cgroups.find(createHash('sha256').update(options.dataDir).digest('hex').slice(0, 12))
  if (options.isolation === 'namespaces') return new LocalRuntime(options, cgroups, [namespaces])
  const runsc = await hostTool('runsc').catch(() => undefined)
  if (runsc !== undefined) {
    const gvisor = new GvisorLauncher(pipes, runsc)
    return new LocalRuntime(options, cgroups, options.isolation === 'runsc' ? [gvisor] : [gvisor, namespaces])
  }
  if (options.isolation === 'runsc') throw new Error('EMULATOR_RUNTIME is runsc, which is not installed')
  return new LocalRuntime(options, cgroups, [namespaces])
}

class LocalRuntime implements ContainerRuntime {
  readonly mode = process.getuid!() === 0 ? 'root' : 'user'
  readonly volumes: VolumeStore
  readonly #options: RuntimeOptions
  readonly #cgroups: Cgroups
  readonly #launcher: Promise<Launcher>
  readonly #containers = new Set<LocalContainer>()
  #started = 0

  /** @param launchers the first that works is used */
  constructor (options: RuntimeOptions, cgroups: Cgroups, launchers: [Launcher, ...Launcher[]]) {
    this.#options = options
    this.#cgroups = cgroups
    this.volumes = new VolumeStore(options.dataDir)
    this.#launcher = this.#prepare(launchers)
    this.#launcher.catch(() => {})
  }

  async #prepare ([preferred, other]: [Launcher, ...Launcher[]]): Promise<Launcher> {
    await prepareBase(this.#options)
    if (other === undefined) return preferred
    const { usable, message } = await selfTest({
      mode: this.mode, name: preferred.name, start: async (spec) => await this.#start(spec, preferred)
    })
    if (usable) return preferred
    this.#options.log.warn({ reason: message }, `emulator: containers are ${other.name}, because ${preferred.name} does not work well enough here`)
    return other
  }

  async start (spec: ContainerSpec): Promise<Container> {
    return await this.#start(spec, await this.#launcher)
  }

  async #start (spec: ContainerSpec, launcher: Launcher): Promise<Container> {
    const directory = join(this.#options.dataDir, 'containers', `${this.#started++}-${spec.id}`)
    const volumes: MountedVolume[] = []
    let supervisor: Supervisor | undefined
    let container: LocalContainer | undefined
    const cgroup = await this.#cgroups.make(spec.limits ?? {})
    try {
      for (const name of ['root', 'spools', 'work', 'upper']) await mkdir(join(directory, name), { recursive: true })
      for (const [index, mount] of spec.volumes.entries()) {
        volumes.push(await MountedVolume.open(this.volumes, mount, join(directory, `volume-${index}`)))
      }
      const local = join(this.#options.dataDir, 'local')
      const at = (name: string) => join(directory, name)
      const overlays = await overlaysOf(spec.rootfs, { local, root: at('root'), upper: at('upper'), work: at('work') })
      const userNamespace = this.mode === 'user'
      const launch = await launcher.prepare({
        root: at('root'),
        toolbox: join(this.#options.dataDir, 'toolbox'),
        hostname: spec.id,
        userNamespace,
        network: spec.network,
        overlays,
        volumes: volumes.map((volume) => volume.view()),
        workdir: spec.workdir,
        resolvConf: spec.rootfs.base.kind === 'directory' || typeof spec.network === 'object',
        cgroups: cgroup.files
      }, directory)
      supervisor = await Supervisor.start({ script: launch.script, directory, userNamespace })
      for (const volume of volumes) volume.namespaceRoot = `/proc/${supervisor.pid}/root`
      const started = new LocalContainer({
        spec,
        supervisor,
        engine: await launch.engine(supervisor, () => { started.stop().catch(() => {}) }),
        directory,
        local,
        userNamespace,
        overlays,
        volumes,
        warn: (details, message) => { this.#options.log.warn(details, message) },
        onStopped: () => {
          this.#containers.delete(started)
          cgroup.remove().catch(() => {})
        }
      })
      container = started
      this.#containers.add(container)
      await container.startMain()
      return container
    } catch (error) {
      if (container === undefined) for (const volume of volumes) volume.release()
      await container?.stop().catch(() => {})
      await supervisor?.end()
      await cgroup.remove()
      await removeTree(directory).catch(() => {})
      throw error
    }
  }

  enforces (limit: 'memory' | 'cpu'): boolean {
    return this.#cgroups.enforces(limit)
  }

  async filters (): Promise<string | undefined> {
    return await (await this.#launcher).filters()
  }

  get rootfsInUse (): Rootfs[] {
    return [...this.#containers].flatMap(({ rootfs }) => rootfs)
  }

  async selfTest (): Promise<SelfTest> {
    const { name } = await this.#launcher.catch(() => ({ name: 'none' }))
    return await selfTest({ mode: this.mode, name, start: this.start.bind(this) })
  }

  async close (): Promise<void> {
    await this.#launcher.catch(() => {})
    await Promise.all([...this.#containers].map(async (container) => {
      await container.stop().catch(async () => { await container.abandon() })
    }))
    await removeTree(join(this.#options.dataDir, 'containers'))
  }
}
