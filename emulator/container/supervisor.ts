import { spawn, type ChildProcess } from 'node:child_process'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { maskInherited, unlinkedFile } from './child-stdio.js'
import { onHost } from './host.js'
import { ContainerError } from './types.js'

interface SupervisorOptions {
  /** Runs in a mount namespace of its own; prints `ready`, then `ended`, and lives on until its input ends. */
  script: string
  directory: string
  userNamespace: boolean
}

/**
 * The process of the host that holds a container's mounts. It outlives the container's processes, so that what they
 * wrote can still be read; when it ends, the kernel ends them.
 */
export class Supervisor {
  /** Resolves when every process of the container has ended. */
  readonly ended: Promise<void>
  readonly #process: ChildProcess
  #hasEnded = false

  private constructor (child: ChildProcess, ended: Promise<void>) {
    this.#process = child
    this.ended = ended.then(() => { this.#hasEnded = true })
  }

  /** Whether {@link ended} has resolved. A pid of the container may be another process's then. */
  get hasEnded (): boolean {
    return this.#hasEnded
  }

  get pid (): number {
    return this.#process.pid!
  }

  /** Returns once the container's first process reports that it is ready. */
  static async start ({ script, directory, userNamespace }: SupervisorOptions): Promise<Supervisor> {
    const [program, ...rest] = onHost(['setpriv', '--pdeathsig', 'KILL', 'unshare', ...userNamespace ? ['-r'] : [],
      '-m', '--propagation', 'unchanged', 'sh', '-c', script])
    const blank = await unlinkedFile(join(directory, 'blank'), '')
    const stdio = maskInherited(['pipe', 'pipe', 'pipe'], blank.fd)
    const child = spawn(program!, rest, { env: {}, cwd: '/', stdio, detached: true })
    await blank.close()
    child.stdin!.on('error', () => {})
    let stderr = ''
    child.stderr!.on('data', (text) => { stderr = `${stderr}${text}`.slice(-2000) })
    let end!: () => void
    const ended = new Promise<void>((resolve) => { end = resolve })
    child.once('exit', end)
    await new Promise<void>((resolve, reject) => {
      let ready = false
      createInterface({ input: child.stdout! }).on('line', (line) => {
        if (line === 'ready') resolve()
        if (line === 'ended') end()
        ready ||= line === 'ready'
        // Then it exits, and all that it had to say is known.
        if (!ready) child.stdin!.end()
      })
      child.once('error', reject)
      child.once('close', () => { reject(new ContainerError('failed', `the container could not be set up: ${stderr.trim()}`)) })
    })
    return new Supervisor(child, ended)
  }

  /** Ends it, and with it the namespaces and all mounts. */
  async end (): Promise<void> {
    const child = this.#process
    if (child.exitCode !== null || child.signalCode !== null) return
    const exited = new Promise((resolve) => { child.once('exit', resolve) })
    child.kill('SIGKILL')
    await exited
  }
}
