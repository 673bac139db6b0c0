import { commandLine, viaDescriptor } from '../command.js'
import type { Command, Engine } from '../engine.js'
import { runOnHost } from '../host.js'
import type { PipeMaker } from '../pipes.js'
import { killCommand, launch, signal } from '../process.js'
import type { VolumeView } from '../setup.js'
import type { Supervisor } from '../supervisor.js'
import { ContainerError, type ExecSpec } from '../types.js'
import { confined, remountScript, volumeLostStatus } from './script.js'

interface Parts {
  network: 'host' | 'none'
  supervisor: Supervisor
  /** The host pid of the container's first process. */
  initPid: number
  root: string
  userNamespace: boolean
  pipes: PipeMaker
  nsenter: string
  /** Ends the container. */
  lost: () => void
}

/** Linux namespaces: each command enters them by nsenter. */
export class NamespaceEngine implements Engine {
  readonly #parts: Parts
  #ended = false

  constructor (parts: Parts) {
    this.#parts = parts
    parts.supervisor.ended.then(() => { this.#ended = true })
  }

  async enter (exec: ExecSpec, spool: string): Promise<Command> {
    const { argv, preamble } = commandLine(exec, viaDescriptor)
    const { pipes } = this.#parts
    const child = await launch({ argv: [...this.#namespaces(), ...confined, ...argv], input: preamble, pipes, spool })
    return Object.assign(child, { kill: async () => { await killCommand(child.pid, exec.pty === undefined ? 1 : 2) } })
  }

  /**
   * Host programs enter everything that is the supervisor's, and the inner user namespace last: what is executed then,
   * with the container's files around it, has no more than the container itself.
   */
  #namespaces (): string[] {
    const { nsenter, initPid, supervisor, userNamespace, network } = this.#parts
    const outer = userNamespace ? [nsenter, '-t', String(supervisor.pid), '-U', '--preserve-credentials'] : []
    return [...outer, nsenter, '-t', String(initPid), '-m', '-p', '-i', '-u', ...network === 'none' ? ['-n'] : [],
      '-U', ...userNamespace ? ['--preserve-credentials'] : []]
  }

  /** The kernel ends a process namespace with its first process, whatever runs in it. */
  async killAll (): Promise<boolean> {
    const { initPid, supervisor } = this.#parts
    if (!this.#ended) signal(initPid, 'SIGKILL')
    await supervisor.ended
    return true
  }

  /** As on Modal, this fails while files on the volume are open. */
  async remount (before: VolumeView, after: VolumeView): Promise<void> {
    const { root, userNamespace, nsenter, supervisor, lost } = this.#parts
    const entry = userNamespace ? ['-U', '--preserve-credentials'] : []
    const script = remountScript(before, after, root, userNamespace)
    await runOnHost(nsenter, ...entry, '-t', String(supervisor.pid), '-m', '/bin/sh', '-c', script).catch((cause) => {
      if (/busy/.test(String(cause.stderr))) {
        throw new ContainerError('busy', `there are open files preventing the operation on ${before.path}`, { cause })
      }
      // Better no container than one that carries on without its volume.
      if (cause.code === volumeLostStatus) lost()
      throw new ContainerError('failed', `remounting ${before.path}`, { cause })
    })
  }
}
