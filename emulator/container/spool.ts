import { open, rm, type FileHandle } from 'node:fs/promises'
import type { Socket } from 'node:net'
import { isNoSpace, noSpaceText } from '../lib/no-space.js'
import { ContainerError, type Spool } from './types.js'

const chunkSize = 256 * 1024
const mebibyte = 1024 * 1024

/** Output is kept in files of this size, so that the oldest can be dropped while the process goes on printing. */
const defaultSegmentBytes = 16 * mebibyte

/**
 * How much of one stream is kept. A process that prints for ever must not fill the disk: beyond this, what has been
 * read is dropped, and while nobody reads, the process waits, as on Modal.
 */
const defaultKeptBytes = 256 * mebibyte

export interface Limits { segmentBytes?: number, keptBytes?: number }

/** Output in files: memory use stays flat, however much is written and however slowly it is read. */
export class FileSpool implements Spool {
  #size = 0
  /** Offset of the first byte that is kept, which begins a segment. */
  #start = 0
  /** Up to where a reader has come. */
  #taken = 0
  #ended = false
  /** Until the process has ended. */
  #isBounded = true
  /** Why the output is not whole. What came before is readable. */
  #failure: ContainerError | undefined
  #readers = 0
  readonly #waiting = new Set<() => void>()
  readonly #path: string
  readonly #segmentBytes: number
  readonly #keptBytes: number

  constructor (path: string, { segmentBytes = defaultSegmentBytes, keptBytes = defaultKeptBytes }: Limits = {}) {
    this.#path = path
    this.#segmentBytes = segmentBytes
    this.#keptBytes = keptBytes
  }

  get size (): number {
    return this.#size
  }

  get kept (): number {
    return this.#size - this.#start
  }

  get isRead (): boolean {
    return this.#readers > 0
  }

  /**
   * Reads a pipe until its end, or until `cut` resolves, then closes it. When output can't be kept,
   * readers are told; the process can go on printing.
   * @param exited resolves when the process has ended: what is left in the pipe is then taken without a limit.
   */
  async fill (socket: Socket, exited: Promise<unknown>, cut: Promise<unknown>): Promise<void> {
    cut.then(() => { socket.destroy() }, () => { socket.destroy() })
    const writer = new SegmentWriter((index) => this.#file(index), this.#segmentBytes)
    exited.then(() => { this.#isBounded = false; this.#changed() }, () => {})
    try {
      for await (const chunk of socket) {
        while (this.#isBounded && this.kept >= this.#keptBytes) {
          if (this.#isOldestRead) await this.#dropOldest()
          else await this.#change()
        }
        await this.#append(writer, chunk)
      }
    } catch {
      // A cut pipe ends the output; what came before is kept.
      socket.destroy()
    }
    await writer.close()
    this.end()
  }

  end (): void {
    this.#ended = true
    this.#changed()
  }

  async * read (offset: number, signal?: AbortSignal): AsyncGenerator<Buffer> {
    let file: FileHandle | undefined
    let segment = -1
    this.#readers++
    try {
      for (let position = offset; !signal?.aborted;) {
        if (position < this.#start) throw dropped()
        if (position < this.#size) {
          const index = Math.floor(position / this.#segmentBytes)
          if (index !== segment) {
            await file?.close()
            file = undefined
            file = await open(this.#file(index), 'r').catch(() => { throw dropped() })
            segment = index
          }
          const from = position - index * this.#segmentBytes
          const length = Math.min(this.#size - position, this.#segmentBytes - from, chunkSize)
          const { bytesRead, buffer } = await file!.read(Buffer.allocUnsafe(length), 0, length, from)
          if (bytesRead === 0) throw dropped()
          position += bytesRead
          this.#take(position)
          yield buffer.subarray(0, bytesRead)
        } else if (this.#failure !== undefined) {
          throw this.#failure
        } else if (this.#ended) {
          return
        } else {
          await this.#change(signal)
        }
      }
    } finally {
      this.#readers--
      await file?.close()
    }
  }

  /** Removes what is kept. */
  async discard (): Promise<void> {
    const last = Math.floor(this.#size / this.#segmentBytes)
    let index = Math.floor(this.#start / this.#segmentBytes)
    this.#start = this.#size
    for (; index <= last; index++) await rm(this.#file(index), { force: true })
  }

  #file (index: number): string {
    return `${this.#path}.${index}`
  }

  async #append (writer: SegmentWriter, chunk: Buffer): Promise<void> {
    if (this.#failure !== undefined) return
    try {
      for (let rest = chunk; rest.length > 0;) {
        const written = await writer.write(rest)
        this.#size += written
        rest = rest.subarray(written)
        this.#changed()
      }
    } catch (cause) {
      this.#failure = isNoSpace(cause)
        ? new ContainerError('no_space', `${noSpaceText}: the output of the command could not be kept`, { cause })
        : new ContainerError('failed', 'the output of the command could not be kept', { cause })
      this.#changed()
    }
  }

  #take (position: number): void {
    if (position <= this.#taken) return
    this.#taken = position
    if (this.kept >= this.#keptBytes) this.#changed()
  }

  /** A client that has lost its connection asks again for the last of what it was sent: that stays. */
  get #isOldestRead (): boolean {
    return this.#taken >= this.#start + 2 * this.#segmentBytes
  }

  async #dropOldest (): Promise<void> {
    const index = this.#start / this.#segmentBytes
    this.#start += this.#segmentBytes
    await rm(this.#file(index), { force: true })
  }

  /** Resolves at the next change, or when the reader gives up; leaves no listener behind. */
  #change (signal?: AbortSignal): Promise<void> {
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

/** Appends to the last of several files, and begins the next one when it is full. */
class SegmentWriter {
  #offset = 0
  #file: FileHandle | undefined
  readonly #path: (index: number) => string
  readonly #bytes: number

  constructor (path: (index: number) => string, bytes: number) {
    this.#path = path
    this.#bytes = bytes
  }

  /** @returns how many of the bytes were written: those that fit into the file, at least one */
  async write (bytes: Buffer): Promise<number> {
    const index = Math.floor(this.#offset / this.#bytes)
    const from = this.#offset - index * this.#bytes
    if (from === 0) {
      await this.close()
      this.#file = await open(this.#path(index), 'w', 0o600)
    }
    const { bytesWritten } = await this.#file!.write(bytes, 0, Math.min(bytes.length, this.#bytes - from), from)
    this.#offset += bytesWritten
    return bytesWritten
  }

  async close (): Promise<void> {
    await this.#file?.close()
    this.#file = undefined
  }
}

function dropped (): ContainerError {
  return new ContainerError('dropped', 'This part of the output is no longer kept')
}
