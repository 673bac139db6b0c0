import type { ChildProcess } from 'node:child_process'
import { constants, mkdtempSync } from 'node:fs'
import { close, open, unlink } from 'node:fs'
import { Socket } from 'node:net'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { runOnHost } from './host.js'

const openFd = promisify(open)
const unlinkFile = promisify(unlink)
const closeFd = promisify(close)
const fifosPerBatch = 24

/** Makes what a process has for standard input, output and errors. */
export interface Pipes { make (): Promise<StandardStreams> }

export interface StandardStreams {
  /** For `spawn`. */
  theirs: Array<number | 'pipe'>
  /** Our ends, once the process runs. */
  ours (child: ChildProcess): { input: Socket, output: Socket, errors: Socket }
  /** Closes what the process has got, or would have: to be called in any case. */
  given (): Promise<void>
  /** Closes our ends when there is no process. */
  discard (): Promise<void>
}

/**
 * What Node calls pipes are socket pairs. Of those, a program can't open a stream again by name: `echo x > /dev/stderr`
 * fails (ENXIO), as it does where a sandbox's streams come over the network.
 */
export class SocketPairs implements Pipes {
  async make (): Promise<StandardStreams> {
    return {
      theirs: ['pipe', 'pipe', 'pipe'],
      ours ({ stdin, stdout, stderr }) {
        return { input: stdin as Socket, output: stdout as Socket, errors: stderr as Socket }
      },
      async given () {},
      async discard () {}
    }
  }
}

/** Both ends, as descriptors. */
interface Pipe { reader: number, writer: number }

/**
 * Real pipes: what Node calls a pipe is a socket pair, and `echo x > /dev/stderr` fails on a socket (ENXIO). They are
 * opened as FIFOs, which are made in batches, because each batch costs a process; a name is used once, then removed.
 */
export class PipeMaker implements Pipes {
  readonly #directory: string
  readonly #mkfifo: string
  readonly #ready: string[] = []
  #made = 0
  #making: Promise<unknown> | undefined

  constructor (directory: string, mkfifo: string) {
    this.#directory = mkdtempSync(join(directory, 'pipes-'))
    this.#mkfifo = mkfifo
  }

  async make (): Promise<StandardStreams> {
    const [input, output, errors] = await this.#all()
    const theirs = [input.reader, output.writer, errors.writer]
    const reader = (fd: number) => new Socket({ fd, readable: true, writable: false })
    return {
      theirs,
      ours: () => ({
        input: new Socket({ fd: input.writer, readable: false, writable: true }),
        output: reader(output.reader),
        errors: reader(errors.reader)
      }),
      given: async () => { await closeAll(theirs) },
      discard: async () => { await closeAll([input.writer, output.reader, errors.reader]) }
    }
  }

  /** For input, output and errors; none is left open when one fails. */
  async #all (): Promise<[Pipe, Pipe, Pipe]> {
    const made = [this.#input(), this.#output(), this.#output()] as const
    return await Promise.all(made).catch(async (error) => {
      const pipes = (await Promise.allSettled(made)).flatMap((one) => one.status === 'fulfilled' ? one.value : [])
      await closeAll(pipes.flatMap(({ reader, writer }) => [reader, writer]))
      throw error
    })
  }

  /** For output: our end is non-blocking, the process's end blocks. */
  async #output (): Promise<Pipe> {
    const { O_RDONLY, O_WRONLY, O_NONBLOCK } = constants
    const [reader, writer] = await openings(await this.#take(), O_RDONLY | O_NONBLOCK, O_WRONLY)
    return { reader: reader!, writer: writer! }
  }

  /** For input: the process's end blocks, ours is non-blocking. */
  async #input (): Promise<Pipe> {
    const { O_RDWR, O_RDONLY, O_WRONLY, O_NONBLOCK } = constants
    const [both, reader, writer] = await openings(await this.#take(), O_RDWR, O_RDONLY, O_WRONLY | O_NONBLOCK)
    await closeFd(both!)
    return { reader: reader!, writer: writer! }
  }

  async #take (): Promise<string> {
    for (;;) {
      const path = this.#ready.pop()
      if (path !== undefined) return path
      this.#making ??= this.#make().finally(() => { this.#making = undefined })
      await this.#making
    }
  }

  async #make () {
    const paths = Array.from({ length: fifosPerBatch }, () => join(this.#directory, String(this.#made++)))
    await runOnHost(this.#mkfifo, '-m', '600', ...paths)
    this.#ready.push(...paths)
  }
}

/** Opens a FIFO in these ways, one after the other, and removes its name; nothing is left open when that fails. */
async function openings (path: string, ...ways: number[]): Promise<number[]> {
  const opened: number[] = []
  try {
    for (const way of ways) opened.push(await openFd(path, way))
    await unlinkFile(path)
    return opened
  } catch (error) {
    await closeAll(opened)
    throw error
  }
}

async function closeAll (descriptors: number[]): Promise<void> {
  await Promise.all(descriptors.map(async (fd) => { await closeFd(fd) }))
}
