import { mkdir, readFile, realpath } from 'node:fs/promises'
import { join } from 'node:path'
import { MountedVolume } from '../volumes/mounted.js'
import { VolumeStore } from '../volumes/store.js'
import { NamespaceContainer } from './container.js'
import { hostTool, removeTree } from './host.js'
import { PipeMaker } from './pipes.js'
import { cleanDirectory, prepareBase } from './prepare.js'
import { selfTest } from './self-test.js'
import { outerScript, type OverlayMount } from './setup.js'
import { Supervisor } from './supervisor.js'
import type { Container, ContainerRuntime, ContainerSpec, Rootfs, RuntimeOptions, SelfTest } from './types.js'

/** Returns while the toolbox and the base image are still being prepared; the first container waits for them. */
export async function createRuntime (given: RuntimeOptions): Promise<ContainerRuntime> {
  // The setup scripts compare paths with `pwd -P`.
  await mkdir(given.dataDir, { recursive: true })
  const options = { ...given, dataDir: await realpath(given.dataDir) }
  await cleanDirectory(options.dataDir)
  const pipes = new PipeMaker(join(options.dataDir, 'containers'), await hostTool('mkfifo'))
  return new NamespaceRuntime(options, pipes, await hostTool('nsenter'))
}

class NamespaceRuntime implements ContainerRuntime {
  readonly mode = process.getuid!() === 0 ? 'root' : 'user'
  readonly volumes: VolumeStore
  readonly #options: RuntimeOptions
  readonly #pipes: PipeMaker
  readonly #nsenter: string
  readonly #prepared: Promise<void>
  readonly #containers = new Set<NamespaceContainer>()
  #started = 0

  constructor (options: RuntimeOptions, pipes: PipeMaker, nsenter: string) {
    this.#options = options
    this.#pipes = pipes
    this.#nsenter = nsenter
    this.volumes = new VolumeStore(options.dataDir)
    this.#prepared = prepareBase(options)
    this.#prepared.catch(() => {})
  }

  async start (spec: ContainerSpec): Promise<Container> {
    await this.#prepared
    const directory = join(this.#options.dataDir, 'containers', `${this.#started++}-${spec.id}`)
    const volumes: MountedVolume[] = []
    let supervisor: Supervisor | undefined
    let container: NamespaceContainer | undefined
    try {
      for (const name of ['root', 'spools', 'work', 'upper']) await mkdir(join(directory, name), { recursive: true })
      for (const [index, mount] of spec.volumes.entries()) {
        volumes.push(await MountedVolume.open(this.volumes, mount, join(directory, `volume-${index}`)))
      }
      const overlays = await this.#overlays(spec.rootfs, directory)
      supervisor = await Supervisor.start({
        script: this.#script(spec, directory, overlays, volumes), directory, userNamespace: this.mode === 'user'
      })
      container = await this.#container(spec, directory, overlays, volumes, supervisor)
      await container.startMain()
      return container
    } catch (error) {
      if (container === undefined) for (const volume of volumes) volume.release()
      await container?.stop().catch(() => {})
      await supervisor?.end()
      await removeTree(directory).catch(() => {})
      throw error
    }
  }

  #script (spec: ContainerSpec, directory: string, overlays: OverlayMount[], volumes: MountedVolume[]): string {
    return outerScript({
      root: join(directory, 'root'),
      namespace: join(directory, 'user-namespace'),
      toolbox: join(this.#options.dataDir, 'toolbox'),
      hostname: spec.id,
      userNamespace: this.mode === 'user',
      network: spec.network,
      overlays,
      volumes: volumes.map((volume) => volume.view()),
      workdir: spec.workdir,
      resolvConf: spec.rootfs.base.kind === 'directory'
    })
  }

  async #container (
    spec: ContainerSpec, directory: string, overlays: OverlayMount[], volumes: MountedVolume[], supervisor: Supervisor
  ): Promise<NamespaceContainer> {
    for (const volume of volumes) volume.namespaceRoot = `/proc/${supervisor.pid}/root`
    const container = new NamespaceContainer({
      spec,
      supervisor,
      initPid: await onlyChild(await onlyChild(supervisor.pid)),
      directory,
      root: join(directory, 'root'),
      overlays,
      volumes,
      userNamespace: this.mode === 'user',
      pipes: this.#pipes,
      nsenter: this.#nsenter,
      warn: (details, message) => { this.#options.log.warn(details, message) },
      onStopped: () => { this.#containers.delete(container) }
    })
    this.#containers.add(container)
    return container
  }

  /** `/` and, for the base `local`, /usr, which needs an overlay of its own because overlays do not cross mounts. */
  async #overlays ({ base, layers }: Rootfs, directory: string): Promise<OverlayMount[]> {
    const local = join(this.#options.dataDir, 'local')
    const root = join(directory, 'root')
    const lowers = base.kind === 'directory'
      ? { root: [base.path] }
      : { root: [join(local, 'root')], usr: [join(local, 'usr'), '/usr'] }
    return await Promise.all(Object.entries(lowers).map(async ([name, lower]) => {
      const upper = join(directory, 'upper', name)
      const work = join(directory, 'work', name)
      await Promise.all([mkdir(upper), mkdir(work)])
      return {
        path: name === 'root' ? root : `${root}/usr`,
        lower: [...layers.map((layer) => join(layer, name)).toReversed(), ...lower],
        upper,
        work
      }
    }))
  }

  async selfTest (): Promise<SelfTest> {
    return await selfTest(this)
  }

  async close (): Promise<void> {
    await this.#prepared.catch(() => {})
    await Promise.all([...this.#containers].map(async (container) => { await container.stop() }))
    await removeTree(join(this.#options.dataDir, 'containers'))
  }
}

async function onlyChild (pid: number): Promise<number> {
  return Number((await readFile(`/proc/${pid}/task/${pid}/children`, 'utf8')).trim().split(' ')[0])
}
