import { open, type FileHandle } from 'node:fs/promises'
import { Socket } from 'node:net'
import type { Spool } from './types.js'

const chunkSize = 256 * 1024

/** Output in a file: memory use stays flat, however much is written and however slowly it is read. */
export class FileSpool implements Spool {
  #size = 0
  #ended = false
  readonly #waiting = new Set<() => void>()
  readonly #path: string

  constructor (path: string) {
    this.#path = path
  }

  get size (): number {
    return this.#size
  }

  /** Reads a pipe's descriptor until its end, or until `cut` resolves, then closes it. */
  async fill (reader: number, cut: Promise<unknown>): Promise<void> {
    const socket = new Socket({ fd: reader, readable: true, writable: false })
    cut.then(() => { socket.destroy() }, () => { socket.destroy() })
    let file: FileHandle | undefined
    try {
      file = await open(this.#path, 'w', 0o600)
      for await (const chunk of socket) {
        await file.write(chunk)
        this.#size += chunk.length
        this.#changed()
      }
    } catch {
      // A cut pipe or a full disk ends the output; what came before is kept.
      socket.destroy()
    }
    await file?.close()
    this.end()
  }

  end (): void {
    this.#ended = true
    this.#changed()
  }

  async * read (offset: number, signal?: AbortSignal): AsyncGenerator<Buffer> {
    let file: FileHandle | undefined
    try {
      for (let position = offset; !signal?.aborted;) {
        const available = this.#size - position
        if (available > 0) {
          file ??= await open(this.#path, 'r')
          const buffer = Buffer.allocUnsafe(Math.min(available, chunkSize))
          const { bytesRead } = await file.read(buffer, 0, buffer.length, position)
          position += bytesRead
          yield buffer.subarray(0, bytesRead)
        } else if (this.#ended) {
          return
        } else {
          await this.#change(signal)
        }
      }
    } finally {
      await file?.close()
    }
  }

  /** Resolves at the next change, or when the reader gives up; leaves no listener behind. */
  #change (signal: AbortSignal | undefined): Promise<void> {
    return new Promise((resolve) => {
      const done = () => {
        this.#waiting.delete(done)
        signal?.removeEventListener('abort', done)
        resolve()
      }
      this.#waiting.add(done)
      signal?.addEventListener('abort', done)
    })
  }

  #changed () {
    for (const done of this.#waiting) done()
  }
}
