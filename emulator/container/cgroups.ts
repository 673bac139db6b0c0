import { mkdir, readdir, readFile, rmdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { runOnHost } from './host.js'
import { ContainerError, type Limits } from './types.js'

type Controller = 'memory' | 'cpu'

/** Where control groups of containers are made, and how their limits are written, for one controller. */
interface Hierarchy { directory: string, files: (limits: Limits) => Setting[] }

/** An optional one is for what not every kernel has. */
type Setting = [file: string, value: string, optional?: true]

const periodMicroseconds = 100_000
const quota = (cpus: number) => Math.max(1000, Math.round(cpus * periodMicroseconds))

const files: Record<Controller, { v1: Hierarchy['files'], v2: Hierarchy['files'] }> = {
  memory: {
    v1: ({ memoryBytes }) => memoryBytes === undefined
      ? []
      : [['memory.limit_in_bytes', `${memoryBytes}`], ['memory.memsw.limit_in_bytes', `${memoryBytes}`, true]],
    v2: ({ memoryBytes }) => memoryBytes === undefined
      ? []
      : [['memory.max', `${memoryBytes}`], ['memory.swap.max', '0', true]]
  },
  cpu: {
    v1: ({ cpus }) => cpus === undefined
      ? []
      : [['cpu.cfs_period_us', `${periodMicroseconds}`], ['cpu.cfs_quota_us', `${quota(cpus)}`]],
    v2: ({ cpus }) => cpus === undefined ? [] : [['cpu.max', `${quota(cpus)} ${periodMicroseconds}`]]
  }
}

/** The control groups (Linux cgroups, of either version) that limit containers, below the emulator's own. */
export class Cgroups {
  readonly #hierarchies: Map<Controller, Hierarchy>
  readonly #prefix: string
  #count = 0

  private constructor (hierarchies: Map<Controller, Hierarchy>, prefix: string) {
    this.#hierarchies = hierarchies
    this.#prefix = prefix
  }

  /**
   * Finds out which limits this process may set, and removes what a killed emulator left.
   * @param owner names the emulator's groups; unique on this machine
   */
  static async find (owner: string): Promise<Cgroups> {
    const prefix = `modal-emulator-${owner}-`
    const hierarchies = new Map<Controller, Hierarchy>()
    for (const controller of ['memory', 'cpu'] as const) {
      const hierarchy = await findHierarchy(controller).catch(() => undefined)
      if (hierarchy === undefined) continue
      const left = (await readdir(hierarchy.directory)).filter((name) => name.startsWith(prefix))
      for (const name of left) await rmdir(join(hierarchy.directory, name)).catch(() => {})
      if (await works(join(hierarchy.directory, `${prefix}test`))) hierarchies.set(controller, hierarchy)
    }
    return new Cgroups(hierarchies, prefix)
  }

  /** Whether limits of memory, or of CPUs, hold. */
  enforces (controller: Controller): boolean {
    return this.#hierarchies.has(controller)
  }

  /** Makes the groups for a container; limits that do not hold here are left out. */
  async make (limits: Limits): Promise<Cgroup> {
    const name = `${this.#prefix}${this.#count++}`
    const directories: string[] = []
    const cgroup = new Cgroup(directories)
    try {
      for (const { directory, files } of this.#hierarchies.values()) {
        const wanted = files(limits)
        if (wanted.length === 0) continue
        const own = join(directory, name)
        await mkdir(own)
        directories.push(own)
        for (const [file, value, optional] of wanted) {
          await writeFile(join(own, file), value).catch((error) => { if (!optional) throw error })
        }
      }
      return cgroup
    } catch (cause) {
      await cgroup.remove()
      throw new ContainerError('failed', 'the limits of the container could not be set', { cause })
    }
  }
}

/** The groups of one container. */
export class Cgroup {
  readonly #directories: string[]

  constructor (directories: string[]) {
    this.#directories = directories
  }

  /** A process that writes its id to these files becomes a member, and so does all that it starts. */
  get files (): string[] {
    return this.#directories.map((directory) => join(directory, 'cgroup.procs'))
  }

  /** Once its processes have ended; the kernel may need a moment to notice. */
  async remove (): Promise<void> {
    for (const directory of this.#directories) {
      for (let attempt = 0; attempt < 20; attempt++) {
        if (await rmdir(directory).then(() => true, (error) => error.code === 'ENOENT')) break
        await sleep(50)
      }
    }
  }
}

/** The emulator's own group where its version has the controller for children; in version 2, a sibling of it. */
async function findHierarchy (controller: Controller): Promise<Hierarchy | undefined> {
  const memberships = (await readFile('/proc/self/cgroup', 'utf8')).trim().split('\n').map((line) => {
    const [, controllers, path] = /^\d+:([^:]*):(.*)$/.exec(line)!
    return { controllers: controllers!.split(','), path: path! }
  })
  const mounts = (await readFile('/proc/self/mountinfo', 'utf8')).trim().split('\n').map((line) => {
    const [before, after] = line.split(' - ')
    const [, , , root, point] = before!.split(' ')
    const [type, , options] = after!.split(' ')
    return { root: root!, point: point!, type: type!, options: options!.split(',') }
  })
  const v1 = mounts.find(({ type, options }) => type === 'cgroup' && options.includes(controller))
  const own = memberships.find(({ controllers }) => controllers.includes(v1 ? controller : ''))
  const mount = v1 ?? mounts.find(({ type }) => type === 'cgroup2')
  if (mount === undefined || own === undefined) return undefined
  const below = mount.root === '/' || own.path === mount.root ? own.path.slice(mount.root === '/' ? 0 : mount.root.length) : ''
  const directory = join(mount.point, below)
  if (v1) return { directory, files: files[controller].v1 }
  // A group of version 2 that has members can't limit children; only the root can.
  const parent = below === '' || below === '/' ? directory : join(directory, '..')
  const enabled = async () => (await readFile(join(parent, 'cgroup.subtree_control'), 'utf8')).trim().split(' ')
  if (!(await enabled()).includes(controller)) {
    await writeFile(join(parent, 'cgroup.subtree_control'), `+${controller}`)
  }
  return { directory: parent, files: files[controller].v2 }
}

/** Whether this process may make groups there, and put processes in them. */
async function works (group: string): Promise<boolean> {
  try {
    await mkdir(group)
    await runOnHost('sh', '-c', 'echo $$ > "$0"', join(group, 'cgroup.procs'))
    return true
  } catch {
    return false
  } finally {
    await new Cgroup([group]).remove()
  }
}
