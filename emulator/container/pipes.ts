import { constants, mkdtempSync } from 'node:fs'
import { close, open, unlink } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { runOnHost } from './host.js'

const openFd = promisify(open)
const unlinkFile = promisify(unlink)
export const closeFd = promisify(close)
const fifosPerBatch = 24

/** Both ends, as descriptors; the caller closes them. */
interface Pipe { reader: number, writer: number }

/**
 * Real pipes: what Node calls a pipe is a socket pair, and `echo x > /dev/stderr` fails on a socket (ENXIO). They are
 * opened as FIFOs, which are made in batches, because each batch costs a process; a name is used once, then removed.
 */
export class PipeMaker {
  readonly #directory: string
  readonly #mkfifo: string
  readonly #ready: string[] = []
  #made = 0
  #making: Promise<unknown> | undefined

  constructor (directory: string, mkfifo: string) {
    this.#directory = mkdtempSync(join(directory, 'pipes-'))
    this.#mkfifo = mkfifo
  }

  /** For output: our end is non-blocking, the process's end blocks. */
  async output (): Promise<Pipe> {
    const path = await this.#take()
    const reader = await openFd(path, constants.O_RDONLY | constants.O_NONBLOCK)
    const writer = await openFd(path, constants.O_WRONLY)
    await unlinkFile(path)
    return { reader, writer }
  }

  /** For input: the process's end blocks, ours is non-blocking. */
  async input (): Promise<Pipe> {
    const path = await this.#take()
    const both = await openFd(path, constants.O_RDWR)
    const reader = await openFd(path, constants.O_RDONLY)
    const writer = await openFd(path, constants.O_WRONLY | constants.O_NONBLOCK)
    await Promise.all([closeFd(both), unlinkFile(path)])
    return { reader, writer }
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
