import { spawn } from 'node:child_process'
import { constants as os } from 'node:os'
import { open } from 'node:fs'
import { once } from 'node:events'
import { Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'
import { FileSpool } from './spool.js'
import { closeFd, type PipeMaker } from './pipes.js'
import type { ExitStatus, Process, StdinPipe } from './types.js'

/** How long output that somebody still holds open is read after the exit, in milliseconds. */
const drainTime = 2000

export interface Launch {
  argv: string[]
  env: Record<string, string>
  pipes: PipeMaker
  /** Files of the spools: this path with `.out` and `.err`. */
  spool: string
  stdout?: 'pipe' | 'ignore'
  stderr?: 'pipe' | 'ignore'
}

/** Starts a host process on real pipes; its output goes to spool files. The pid is the host's. */
export async function launch ({ argv, env, pipes, spool, ...streams }: Launch): Promise<Process & { pid: number }> {
  const [input, output, errors] = await Promise.all([pipes.input(), out(streams.stdout), out(streams.stderr)])
  async function out (kind: 'pipe' | 'ignore' = 'pipe') {
    return kind === 'pipe' ? await pipes.output() : { reader: undefined, writer: await promisify(open)('/dev/null', 'w') }
  }
  const child = spawn(argv[0]!, argv.slice(1), {
    env, detached: true, cwd: '/', stdio: [input.reader, output.writer, errors.writer]
  })
  const started = once(child, 'spawn')
  const exited = new Promise<ExitStatus>((resolve) => {
    child.once('exit', (code, signal) => resolve(signal === null ? { code: code! } : { signal: os.signals[signal] }))
    child.once('error', () => resolve({ code: 127 }))
  })
  await started.finally(async () => {
    await Promise.all([input.reader, output.writer, errors.writer].map(async (end) => { await closeFd(end) }))
  })

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
    get status () { return status }
  }
}

function collect (path: string, reader: number | undefined, cut: Promise<unknown>): FileSpool {
  const spool = new FileSpool(path)
  if (reader === undefined) spool.end()
  else spool.fill(reader, cut).catch(() => { spool.end() })
  return spool
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
