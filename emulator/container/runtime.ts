import { createHash } from 'node:crypto'
import { mkdir, realpath } from 'node:fs/promises'
import { join } from 'node:path'
import { MountedVolume } from '../volumes/mounted.js'
import { VolumeStore } from '../volumes/store.js'
import { Cgroups } from './cgroups.js'
import { LocalContainer } from './container.js'
import { GvisorLauncher } from './gvisor/launcher.js'
import { needsSubstitutes } from './gvisor/substitutes.js'
import { hostTool, removeTree } from './host.js'
import type { Launcher } from './launcher.js'
import { MemoryWatch } from './memory-watch.js'
import { NamespaceLauncher } from './namespaces/launcher.js'
import { Networks } from './networks.js'
import { overlaysOf } from './overlays.js'
import { PipeMaker, SocketPairs } from './pipes.js'
import { cleanDirectory, prepareBase } from './prepare.js'
import { selfTest } from './self-test.js'
import { Supervisor } from './supervisor.js'
import {
  type Container, ContainerError, type ContainerRuntime, type ContainerSpec, isRoot, type Rootfs, type RuntimeOptions,
  type SelfTest
} from './types.js'

/**
 * Returns while the toolbox and the base image are still being prepared; the first container waits for them.
 * @throws {Error} when something that the options ask for can't be had here
 */
export async function createRuntime (given: RuntimeOptions): Promise<ContainerRuntime> {
  // The setup scripts compare paths with `pwd -P`.
  await mkdir(given.dataDir, { recursive: true })
  const options = { ...given, dataDir: await realpath(given.dataDir) }
  await cleanDirectory(options.dataDir)
  const pipes = options.strictness?.sockets !== undefined
    ? new SocketPairs()
    : new PipeMaker(join(options.dataDir, 'containers'), await hostTool('mkfifo'))
  const networks = new Networks({
    directory: join(options.dataDir, 'containers'), userNamespace: process.getuid!() !== 0, isShared: options.network === 'host'
  })
  const reason = options.network === 'own' ? await networks.missing : undefined
  if (reason !== undefined) throw new Error(`EMULATOR_NETWORK is own, but sandboxes can't have networks of their own here: ${reason}`)
  const namespaces = new NamespaceLauncher(pipes, { nsenter: await hostTool('nsenter'), perl: await hostTool('perl') })
  const cgroups = await Cgroups.find(createHash('sha256').update(options.dataDir).digest('hex').slice(0, 12))
  if (options.isolation === 'namespaces') return new LocalRuntime(options, networks, cgroups, [namespaces])
  const runsc = await hostTool('runsc').catch(() => undefined)
  if (runsc !== undefined) {
    const gvisor = new GvisorLauncher(pipes, runsc, await needsSubstitutes(runsc))
    return new LocalRuntime(options, networks, cgroups, options.isolation === 'runsc' ? [gvisor] : [gvisor, namespaces])
  }
  if (options.isolation === 'runsc') throw new Error('EMULATOR_RUNTIME is runsc, which is not installed')
  return new LocalRuntime(options, networks, cgroups, [namespaces])
}

class LocalRuntime implements ContainerRuntime {
  readonly mode = process.getuid!() === 0 ? 'root' : 'user'
  readonly volumes: VolumeStore
  readonly #options: RuntimeOptions
  readonly #cgroups: Cgroups
  readonly #networks: Networks
  readonly #launcher: Promise<Launcher>
  readonly #containers = new Set<LocalContainer>()
  readonly #memoryWatch: MemoryWatch | undefined
  #started = 0

  /** @param launchers the first that works is used */
  constructor (options: RuntimeOptions, networks: Networks, cgroups: Cgroups, launchers: [Launcher, ...Launcher[]]) {
    this.#options = options
    this.#cgroups = cgroups
    this.volumes = new VolumeStore(options.dataDir, options.strictness?.['plain-volumes'] !== undefined)
    this.#networks = networks
    const interval = options.strictness?.['memory-limits']
    if (interval !== undefined) this.#memoryWatch = new MemoryWatch(interval)
    this.#launcher = this.#prepare(launchers)
    this.#launcher.catch(() => {})
  }

  async #prepare ([preferred, other]: [Launcher, ...Launcher[]]): Promise<Launcher> {
    await prepareBase(this.#options)
    await this.#tellNetworks()
    if (other === undefined) return this.#told(preferred)
    const { usable, message } = await selfTest({
      mode: this.mode, name: preferred.name, start: async (spec) => await this.#start(spec, preferred)
    })
    if (usable) return this.#told(preferred)
    this.#options.log.warn({ reason: message }, `emulator: containers are ${other.name}, because ${preferred.name} does not work well enough here`)
    return other
  }

  async #tellNetworks (): Promise<void> {
    const { network, log } = this.#options
    const reason = await this.#networks.missing
    if (reason === undefined || network === 'host') return
    log.warn({ reason }, 'emulator: sandboxes share the network of this machine: two of them can not listen on the same port')
  }

  /** What is asked for and can't be had is said. */
  #told (launcher: Launcher): Launcher {
    if (this.#memoryWatch !== undefined && !launcher.showsProcesses) {
      this.#options.log.warn({}, `emulator: a sandbox that uses too much memory does not end: with ${launcher.name} the machine does not show who uses how much`)
    }
    return launcher
  }

  async start (spec: ContainerSpec): Promise<Container> {
    return await this.#start(spec, await this.#launcher)
  }

  async #start (spec: ContainerSpec, launcher: Launcher): Promise<Container> {
    if (this.mode === 'user' && !isRoot(spec.user)) {
      throw new ContainerError('failed', `the image's user is ${spec.user}: only as root can the emulator become other users`)
    }
    const { strictness = {} } = this.#options
    const directory = join(this.#options.dataDir, 'containers', `${this.#started++}-${spec.id}`)
    const volumes: MountedVolume[] = []
    let supervisor: Supervisor | undefined
    let container: LocalContainer | undefined
    // Where memory is watched, the whole container is to end, not the process that the kernel would choose.
    const { memoryBytes, ...limits } = spec.limits ?? {}
    const memoryWatch = this.#watchOf(launcher)
    const isKilled = memoryBytes !== undefined && memoryWatch === undefined
    const cgroup = await this.#cgroups.make({ ...limits, ...isKilled && { memoryBytes } })
    try {
      for (const name of ['root', 'spools', 'work', 'upper']) await mkdir(join(directory, name), { recursive: true })
      for (const [index, mount] of spec.volumes.entries()) {
        volumes.push(await MountedVolume.open(this.volumes, mount, join(directory, `volume-${index}`)))
      }
      const local = join(this.#options.dataDir, 'local')
      const toolbox = join(this.#options.dataDir, 'toolbox')
      const at = (name: string) => join(directory, name)
      const substitutes = launcher.needsSubstitutes ? [join(this.#options.dataDir, 'substitutes')] : []
      const place = { local, substitutes, root: at('root'), upper: at('upper'), work: at('work') }
      const overlays = await overlaysOf(spec.rootfs, place)
      const userNamespace = this.mode === 'user'
      const network = await this.#networks.choose(spec.network, directory)
      const launch = await launcher.prepare({
        root: at('root'),
        toolbox,
        hostname: spec.id,
        userNamespace,
        network,
        overlays,
        volumes: volumes.map((volume) => volume.view()),
        workdir: spec.workdir,
        resolvConf: spec.rootfs.base.kind === 'directory' || typeof network === 'object',
        reaps: strictness.zombies === undefined,
        plainVolumes: strictness['plain-volumes'] !== undefined,
        cgroups: cgroup.files
      }, directory)
      supervisor = await Supervisor.start({ script: launch.script, directory, userNamespace })
      for (const volume of volumes) volume.namespaceRoot = `/proc/${supervisor.pid}/root`
      const started = new LocalContainer({
        spec,
        strictness,
        memoryWatch,
        supervisor,
        engine: await launch.engine(supervisor, () => { started.stop().catch(() => {}) }),
        directory,
        local,
        toolbox,
        userNamespace,
        network,
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

  async enforces (limit: 'memory' | 'cpu'): Promise<boolean> {
    if (this.#cgroups.enforces(limit)) return true
    return limit === 'memory' && this.#watchOf(await this.#launcher) !== undefined
  }

  #watchOf ({ showsProcesses }: Launcher): MemoryWatch | undefined {
    return showsProcesses ? this.#memoryWatch : undefined
  }

  async withoutNetworks (): Promise<string | undefined> {
    return await this.#networks.missing
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
