import { spawn, type ChildProcess } from 'node:child_process'
import { mkdir, readFile, realpath } from 'node:fs/promises'
import { join } from 'node:path'
import { MountedVolume } from '../volumes/mounted.js'
import { VolumeStore } from '../volumes/store.js'
import { NamespaceContainer } from './container.js'
import { maskInherited, unlinkedFile } from './child-stdio.js'
import { hostTool, onHost, removeTree } from './host.js'
import { PipeMaker } from './pipes.js'
import { cleanDirectory, prepareBase } from './prepare.js'
import { selfTest } from './self-test.js'
import { outerScript, type OverlayMount } from './setup.js'
import {
  ContainerError, type Container, type ContainerRuntime, type ContainerSpec, type Rootfs, type RuntimeOptions,
  type SelfTest
} from './types.js'

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
    let supervisor: ChildProcess | undefined
    let container: NamespaceContainer | undefined
    try {
      for (const name of ['root', 'spools', 'work', 'upper']) await mkdir(join(directory, name), { recursive: true })
      for (const [index, mount] of spec.volumes.entries()) {
        volumes.push(await MountedVolume.open(this.volumes, mount, join(directory, `volume-${index}`)))
      }
      const overlays = await this.#overlays(spec.rootfs, directory)
      supervisor = await this.#supervisor(directory, this.#script(spec, directory, overlays, volumes))
      container = await this.#container(spec, directory, overlays, volumes, supervisor)
      await container.startMain()
      return container
    } catch (error) {
      if (container === undefined) for (const volume of volumes) volume.release()
      supervisor?.kill('SIGKILL')
      await container?.stop().catch(() => {})
      await removeTree(directory).catch(() => {})
      throw error
    }
  }

  #script (spec: ContainerSpec, directory: string, overlays: OverlayMount[], volumes: MountedVolume[]): string {
    return outerScript({
      root: join(directory, 'root'),
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
    spec: ContainerSpec, directory: string, overlays: OverlayMount[], volumes: MountedVolume[], supervisor: ChildProcess
  ): Promise<NamespaceContainer> {
    for (const volume of volumes) volume.namespaceRoot = `/proc/${supervisor.pid}/root`
    const container = new NamespaceContainer({
      spec,
      supervisor,
      initPid: await onlyChild(await onlyChild(supervisor.pid!)),
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

  /** Starts the supervisor and waits until the container's first process reports that it is ready. */
  async #supervisor (directory: string, script: string): Promise<ChildProcess> {
    const [program, ...rest] = onHost(['setpriv', '--pdeathsig', 'KILL', 'unshare', ...this.mode === 'user' ? ['-r'] : [],
      '-m', '--propagation', 'unchanged', 'sh', '-c', script])
    const blank = await unlinkedFile(join(directory, 'blank'), '')
    const stdio = maskInherited(['ignore', 'pipe', 'pipe'], blank.fd)
    const supervisor = spawn(program!, rest, { env: {}, cwd: '/', stdio, detached: true })
    await blank.close()
    let stderr = ''
    supervisor.stderr!.on('data', (text) => { stderr = `${stderr}${text}`.slice(-2000) })
    await new Promise<void>((resolve, reject) => {
      supervisor.stdout!.once('data', () => { resolve() })
      supervisor.once('error', reject)
      supervisor.once('close', () => {
        const cause = Object.assign(new Error('the set-up script has failed'), { stderr })
        reject(new ContainerError('failed', `the container could not be set up: ${stderr.trim()}`, { cause }))
      })
    })
    return supervisor
  }

  async selfTest (): Promise<SelfTest> {
    return await selfTest(this)
  }

  async close (): Promise<void> {
    await this.#prepared.catch(() => {})
    await Promise.all([...this.#containers].map(async (container) => {
      await container.stop().catch(async () => { await container.abandon() })
    }))
    await removeTree(join(this.#options.dataDir, 'containers'))
  }
}

async function onlyChild (pid: number): Promise<number> {
  return Number((await readFile(`/proc/${pid}/task/${pid}/children`, 'utf8')).trim().split(' ')[0])
}
