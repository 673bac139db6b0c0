import { readFile } from 'node:fs/promises'
import { commandLine, viaDescriptor } from '../command.js'
import type { Command, Engine } from '../engine.js'
import { runOnHost } from '../host.js'
import { inSameNamespace } from '../listeners.js'
import type { Pipes } from '../pipes.js'
import { firstChild, killCommand, launch, signal } from '../process.js'
import { joinCgroups, type Layout, type VolumeView } from '../setup.js'
import type { Limits } from '../spool.js'
import type { Supervisor } from '../supervisor.js'
import { ContainerError, type ExecSpec } from '../types.js'
import { withoutKeys } from './no-keys.js'
import { withPlainVolumes } from './plain-volumes.js'
import { confined, remountScript, volumeLostStatus } from './script.js'

interface Parts {
  network: Layout['network']
  supervisor: Supervisor
  /** The host pid of the container's first process. */
  initPid: number
  root: string
  userNamespace: boolean
  cgroups: string[]
  pipes: Pipes
  nsenter: string
  perl: string
  /** Where the volumes are that have neither links nor locks. */
  plainVolumes: string[]
  /** Ends the container. */
  lost: () => void
}

/** How often it is looked whether a command that was stopped has ended. */
const lookMs = 1000
const lookAtEndMs = 50

/** Linux namespaces: each command enters them by nsenter. */
export class NamespaceEngine implements Engine {
  readonly #parts: Parts
  /** The host pids of nsenter, one for each command. */
  readonly #entered = new Set<number>()

  constructor (parts: Parts) {
    this.#parts = parts
    const look = setInterval(() => { this.#noticeEnds() }, lookMs).unref()
    parts.supervisor.ended.then(() => { clearInterval(look) })
  }

  get initPid (): number {
    return this.#parts.initPid
  }

  async enter (exec: ExecSpec, spool: string, limits: Limits): Promise<Command> {
    const { argv, preamble } = commandLine(exec, viaDescriptor)
    const { pipes } = this.#parts
    const entry = [...this.#namespaces(), ...confined]
    const child = await launch({ argv: [...entry, ...argv], input: preamble, pipes, spool, limits })
    this.#entered.add(child.pid)
    child.exited.then(() => { this.#entered.delete(child.pid) })
    return Object.assign(child, { kill: async () => { await killCommand(child.pid, exec.pty === undefined ? 1 : 2) } })
  }

  /**
   * Host programs enter everything that is the supervisor's, and the inner user namespace last: what is executed then,
   * with the container's files around it, has no more than the container itself.
   */
  #namespaces (): string[] {
    const { nsenter, perl, initPid, supervisor, userNamespace, network, cgroups, plainVolumes } = this.#parts
    const limits = cgroups.length > 0 ? ['/bin/sh', '-c', `${joinCgroups(cgroups)}\nexec "$@"`, 'sh'] : []
    const plain = plainVolumes.length > 0 ? withPlainVolumes(perl, initPid, plainVolumes) : []
    const outer = userNamespace ? [nsenter, '-t', String(supervisor.pid), '-U', '--preserve-credentials'] : []
    return [...limits, ...outer, ...plain, ...withoutKeys(perl), nsenter, '-t', String(initPid), '-m', '-p', '-i', '-u', ...network !== 'host' ? ['-n'] : [],
      '-U', ...userNamespace ? ['--preserve-credentials'] : []]
  }

  /**
   * The kernel ends a process namespace with its first process, whatever runs in it, once their parents outside have
   * noticed the end of each.
   */
  async killAll (): Promise<boolean> {
    const { initPid, supervisor } = this.#parts
    if (!supervisor.hasEnded) signal(initPid, 'SIGKILL')
    const look = setInterval(() => { this.#noticeEnds() }, lookAtEndMs)
    await supervisor.ended
    clearInterval(look)
    return true
  }

  #noticeEnds (): void {
    for (const pid of this.#entered) notice(pid).catch(() => {})
  }

  async pids (): Promise<number[]> {
    return await inSameNamespace(this.#parts.initPid)
  }

  async onHost (script: string): Promise<void> {
    const { userNamespace, nsenter, supervisor } = this.#parts
    const entry = userNamespace ? ['-U', '--preserve-credentials'] : []
    await runOnHost(nsenter, ...entry, '-t', String(supervisor.pid), '-m', '/bin/sh', '-c', script)
  }

  /** As on Modal, this fails while files on the volume are open. */
  async remount (before: VolumeView, after: VolumeView): Promise<void> {
    const { root, userNamespace, lost } = this.#parts
    await this.onHost(remountScript(before, after, root, userNamespace)).catch((cause) => {
      if (/busy/.test(String(cause.stderr))) {
        throw new ContainerError('busy', `there are open files preventing the operation on ${before.path}`, { cause })
      }
      // Better no container than one that carries on without its volume.
      if (cause.code === volumeLostStatus) lost()
      throw new ContainerError('failed', `remounting ${before.path}`, { cause })
    })
  }
}

/** nsenter stops itself when its child is stopped, and then does not notice that the child was killed. */
async function notice (nsenter: number): Promise<void> {
  const [state] = await stateOf(nsenter)
  if (state !== 'T') return
  const [childState, threads] = await stateOf(await firstChild(nsenter))
  // With more than one, only the first thread has ended.
  if (childState === 'Z' && threads === 1) signal(nsenter, 'SIGCONT')
}

async function stateOf (pid: number): Promise<[state: string, threads: number]> {
  const text = await readFile(`/proc/${pid}/stat`, 'utf8')
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ')
  return [fields[0]!, Number(fields[17])]
}
