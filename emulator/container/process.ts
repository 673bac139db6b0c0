import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { readFile, rm } from 'node:fs/promises'
import { Socket } from 'node:net'
import { constants as os } from 'node:os'
import { setTimeout as sleep } from 'node:timers/promises'
import { onlyThese, unnamedFile } from './child-stdio.js'
import { withoutEnvironment } from './host.js'
import { closeFd, type PipeMaker } from './pipes.js'
import { FileSpool } from './spool.js'
import { ContainerError, type ExitStatus, type Process, type StdinPipe } from './types.js'

/** How long output that somebody still holds open is read after the exit, in milliseconds. */
const drainTime = 2000

export interface Launch {
  argv: string[]
  /** What the process reads from descriptor 3. */
  handover: string
  pipes: PipeMaker
  /** Files of the spools: this path with `.out` and `.err`. */
  spool: string
}

/** Starts a host process without an environment, on real pipes; output goes to spool files. The pid is the host's. */
export async function launch (
  { argv, handover, pipes, spool }: Launch
): Promise<Process & { pid: number }> {
  const [input, output, errors, handed] = await Promise.all([
    pipes.input(), pipes.output(), pipes.output(), unnamedFile(`${spool}.in`, handover)
  ])
  const [program, ...rest] = withoutEnvironment(argv)
  const [ours, theirs] = [[input.writer, output.reader, errors.reader], [input.reader, output.writer, errors.writer]]
  const stdio = onlyThese([...theirs, handed.fd], handed.fd)
  let child: ChildProcess
  let exited: Promise<ExitStatus>
  try {
    child = spawn(program!, rest, { env: {}, detached: true, cwd: '/', stdio })
    exited = new Promise((resolve) => {
      child.once('exit', (code, signal) => resolve(signal === null ? { code: code! } : { signal: os.signals[signal] }))
    })
    await once(child, 'spawn')
  } catch (error) {
    await Promise.all(ours.map(async (end) => { await closeFd(end) }))
    throw new ContainerError('failed', `the command could not be started: ${(error as Error).message}`, { cause: error })
  } finally {
    await Promise.all(theirs.map(async (end) => { await closeFd(end) }))
    await handed.close()
  }

  let status: ExitStatus | undefined
  exited.then((value) => { status = value })
  const cut = exited.then(async () => { await sleep(drainTime, undefined, { ref: false }) })
  const stdin = new PipeInput(input.writer)
  exited.then(() => { stdin.end() })
  return {
    pid: child.pid!,
    stdin,
    stdout: collect(`${spool}.out`, output.reader, cut),
    stderr: collect(`${spool}.err`, errors.reader, cut),
    exited,
    get status () { return status },
    async discard () {
      await Promise.all(['out', 'err'].map(async (name) => { await rm(`${spool}.${name}`, { force: true }) }))
    }
  }
}

function collect (path: string, reader: number, cut: Promise<unknown>): FileSpool {
  const spool = new FileSpool(path)
  spool.fill(reader, cut).catch(() => { spool.end() })
  return spool
}

/** Kills the command itself, some generations below the process that entered the namespaces, and nothing else. */
export async function killCommand (pid: number, depth: number): Promise<void> {
  let target = pid
  for (let level = 0; level < depth; level++) {
    const children = await readFile(`/proc/${target}/task/${target}/children`, 'utf8').catch(() => '')
    const child = Number(children.split(' ')[0])
    if (!child) break
    target = child
  }
  try {
    process.kill(target, 'SIGKILL')
  } catch {
    // It has ended by itself in the meantime.
  }
}

class PipeInput implements StdinPipe {
  #written = 0
  #closed = false
  readonly #socket: Socket

  constructor (writer: number) {
    this.#socket = new Socket({ fd: writer, readable: false, writable: true })
    // The process may end before it has read everything: the write that notices rejects.
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
