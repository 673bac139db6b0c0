import { readFile, rm } from 'node:fs/promises'
import { commandLine, inVariables } from '../command.js'
import type { Command, Engine } from '../engine.js'
import { onHost, runOnHost } from '../host.js'
import { familyOf } from '../listeners.js'
import type { Pipes } from '../pipes.js'
import { launch, signal } from '../process.js'
import type { Layout, VolumeView } from '../setup.js'
import type { Limits } from '../spool.js'
import type { Supervisor } from '../supervisor.js'
import { ContainerError, type ExecSpec } from '../types.js'
import { process, variablesFor } from './config.js'

/** After that, a sandbox that does not answer is no longer asked. */
const answerTimeMs = 5000

interface Parts {
  network: Layout['network']
  supervisor: Supervisor
  /** The host pid of `runsc run`, which takes the sandbox along. */
  runPid: number
  /** `runsc` with the flags of this container, where it is heard. */
  runsc: string[]
  id: string
  pipes: Pipes
}

/** gVisor: each command is an exec of `runsc`, which passes it to the container's own kernel. */
export class GvisorEngine implements Engine {
  readonly #parts: Parts
  readonly #clients = new Set<number>()

  constructor (parts: Parts) {
    this.#parts = parts
  }

  async enter (exec: ExecSpec, spool: string, limits: Limits): Promise<Command> {
    const { runsc, id, pipes } = this.#parts
    const variables = variablesFor([...exec.command, ...Object.entries(exec.env ?? {}).flat()])
    const { argv, preamble } = commandLine(exec, inVariables(variables))
    const pidFile = `${spool}.pid`
    const child = await launch({
      argv: onHost([...runsc, 'exec', '--internal-pid-file', pidFile, '--process', '/proc/self/fd/3', id]),
      input: JSON.stringify(process(argv, preamble, variables)),
      pipes,
      spool,
      limits
    })
    this.#clients.add(child.pid)
    child.exited.then(async () => {
      this.#clients.delete(child.pid)
      await rm(pidFile, { force: true })
    })
    return Object.assign(child, {
      kill: async () => {
        const backstop = setTimeout(() => { signal(child.pid, 'SIGKILL') }, answerTimeMs)
        child.exited.then(() => { clearTimeout(backstop) })
        await this.#kill(pidFile, exec.pty !== undefined)
      }
    })
  }

  /** In a terminal, the command is the child of the program that gives it one. */
  async #kill (pidFile: string, isTerminal: boolean) {
    const { runsc, id } = this.#parts
    const first = Number(await readFile(pidFile, 'utf8').catch(() => ''))
    if (!first) return
    const { stdout } = await runOnHost(...runsc, 'ps', '--format', 'json', id).catch(() => ({ stdout: '[]' }))
    const all = JSON.parse(stdout) as Array<{ pid: number, ppid: number }>
    const child = isTerminal ? all.find(({ ppid }) => ppid === first) : undefined
    await runOnHost(...runsc, 'kill', '--pid', String(child?.pid ?? first), id, 'KILL').catch(() => {})
  }

  /** The host's own processes are killed; nothing has to answer. gVisor's file server may outlive them for a moment. */
  async killAll (): Promise<boolean> {
    const { runPid, supervisor } = this.#parts
    for (const pid of this.#clients) signal(pid, 'SIGKILL')
    if (!supervisor.hasEnded) signal(runPid, 'SIGKILL')
    await supervisor.ended
    return false
  }

  /** But for a blocked network, gVisor's own processes hold the sockets. */
  async pids (): Promise<number[]> {
    if (this.#parts.network === 'none') {
      throw new ContainerError('unsupported', 'TCP readiness probes with blockNetwork need EMULATOR_RUNTIME=namespaces: ' +
        'gVisor (runsc) keeps that network to itself')
    }
    return await familyOf(this.#parts.runPid)
  }

  /** What is in its memory (/tmp) is not on the host, and mounts made on the host later are not in it. */
  async onHost (): Promise<void> {
    throw new ContainerError('unsupported', 'snapshots of a running sandbox, and images mounted in it, need ' +
      'EMULATOR_RUNTIME=namespaces: gVisor (runsc) keeps files and mounts to itself')
  }

  /** gVisor holds on to the directories that it was started with. */
  async remount (before: VolumeView): Promise<void> {
    throw new ContainerError('failed', `${before.path} can't be reloaded: gVisor (runsc) can't change a running container's ` +
      'mounts. Start a new sandbox, or set EMULATOR_RUNTIME=namespaces')
  }
}
