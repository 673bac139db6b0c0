import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { readFile } from 'node:fs/promises'
import type { Socket } from 'node:net'
import { constants as os } from 'node:os'
import { setTimeout as sleep } from 'node:timers/promises'
import { maskInherited, unlinkedFile } from './child-stdio.js'
import type { Pipes } from './pipes.js'
import { FileSpool, type Limits } from './spool.js'
import { ContainerError, type ExitStatus, type Process, type StdinPipe } from './types.js'

/** How long output is still read after the exit, when other processes hold the pipe open. */
const drainTimeMs = 2000

interface Launch {
  /** Of a program that lets nothing of its environment through: Node may add to an empty one. */
  argv: string[]
  /** What the process reads from descriptor 3. */
  input: string
  pipes: Pipes
  /** Path of the output files, without their suffixes `.out` and `.err`. */
  spool: string
  /** Of the output that is kept. */
  limits: Limits
}

/** Starts a host process on pipes; output goes to spool files. */
export async function launch ({ argv, input: text, pipes, spool, limits }: Launch): Promise<Process & { pid: number }> {
  const script = await unlinkedFile(`${spool}.in`, text)
  const streams = await pipes.make().catch(async (error) => { await script.close(); throw error })
  const [program, ...rest] = argv
  const stdio = maskInherited([...streams.theirs, script.fd], script.fd)
  const closeTheirs = async () => { await Promise.all([streams.given(), script.close()]) }
  let child: ChildProcess
  let exited: Promise<ExitStatus>
  try {
    child = spawn(program!, rest, { env: {}, detached: true, cwd: '/', stdio })
    exited = new Promise((resolve) => {
      child.once('exit', (code, signal) => resolve(signal === null ? { code: code! } : { signal: os.signals[signal] }))
    })
    await once(child, 'spawn')
  } catch (error) {
    await Promise.all([streams.discard(), closeTheirs()])
    throw new ContainerError('failed', `the command could not be started: ${(error as Error).message}`, { cause: error })
  }

  let status: ExitStatus | undefined
  exited.then((value) => { status = value })
  const cut = exited.then(async () => { await sleep(drainTimeMs, undefined, { ref: false }) })
  const { input, output, errors } = streams.ours(child)
  const stdin = new PipeInput(input)
  exited.then(() => { stdin.end() })
  const [stdout, stderr] = [new FileSpool(`${spool}.out`, limits), new FileSpool(`${spool}.err`, limits)]
  // Before anything else is waited for: at an exit, Node throws away what nobody reads.
  const filled = Promise.all([stdout.fill(output, exited, cut), stderr.fill(errors, exited, cut)])
  await closeTheirs()
  return {
    pid: child.pid!,
    stdin,
    stdout,
    stderr,
    exited,
    get status () { return status },
    drained: filled.then(() => {}, () => { stdout.end(); stderr.end() }),
    async discard () { await Promise.all([stdout.discard(), stderr.discard()]) }
  }
}

/** Kills only the command itself, which is `depth` generations below the process that entered the namespaces. */
export async function killCommand (pid: number, depth: number): Promise<void> {
  let target = pid
  for (let level = 0; level < depth; level++) {
    const child = await firstChild(target).catch(() => 0)
    if (!child) break
    target = child
  }
  signal(target, 'SIGKILL')
}

/** The host pid of a process's first child. */
export async function firstChild (pid: number): Promise<number> {
  return (await children(pid))[0] ?? 0
}

/** The host pid of the child that a process started last. */
export async function lastChild (pid: number): Promise<number> {
  return (await children(pid)).at(-1) ?? 0
}

async function children (pid: number): Promise<number[]> {
  return (await readFile(`/proc/${pid}/task/${pid}/children`, 'utf8')).trim().split(' ').map(Number)
}

export function signal (pid: number, name: NodeJS.Signals): void {
  try {
    process.kill(pid, name)
  } catch {
    // It has already ended.
  }
}

class PipeInput implements StdinPipe {
  #written = 0
  #closed = false
  readonly #socket: Socket

  constructor (socket: Socket) {
    this.#socket = socket
    // The process may end before it has read everything; the write in progress rejects.
    this.#socket.on('error', () => { this.#closed = true })
  }

  get written (): number {
    return this.#written
  }

  get closed (): boolean {
    return this.#closed
  }

  async write (data: Buffer): Promise<void> {
    if (this.#closed) throw new Error('standard input is closed')
    await new Promise<void>((resolve, reject) => {
      this.#socket.write(data, (error) => { if (error) reject(error); else resolve() })
    })
    this.#written += data.length
  }

  end (): void {
    this.#closed = true
    this.#socket.end()
  }
}
