import { status } from '@grpc/grpc-js'
import type { Process, StdinPipe } from '../container/types.js'
import { failedPrecondition, StatusError } from '../control/status.js'

/**
 * Writes to a standard input by byte offset, one write at a time: bytes that a retry repeats are dropped, and a stream
 * that was replaced by a newer one can no longer write.
 */
export class StdinWriter {
  readonly #pipe: StdinPipe
  #queue: Promise<void> = Promise.resolve()
  #stream = 0

  constructor (pipe: StdinPipe) {
    this.#pipe = pipe
  }

  get written (): number { return this.#pipe.written }
  get closed (): boolean { return this.#pipe.closed }

  /** @throws {StatusError} OUT_OF_RANGE for a gap, FAILED_PRECONDITION when nothing reads any more */
  write (offset: number, data: Buffer, eof: boolean): Promise<void> {
    const write = this.#queue.then(() => this.#write(offset, data, eof))
    this.#queue = write.catch(() => {})
    return write
  }

  /** Writes after everything accepted so far. @throws {StatusError} FAILED_PRECONDITION as {@link write} does */
  append (data: Buffer, eof: boolean): Promise<void> {
    const write = this.#queue.then(() => this.#write(this.#pipe.written, data, eof))
    this.#queue = write.catch(() => {})
    return write
  }

  /** Gives the caller's stream the exclusive right to write. */
  openStream (): number {
    return ++this.#stream
  }

  /** @throws {StatusError} ABORTED when another stream or a status call has taken over */
  checkStream (stream: number): void {
    if (stream !== this.#stream) throw new StatusError(status.ABORTED, 'Another stdin stream took over')
  }

  async #write (offset: number, data: Buffer, eof: boolean): Promise<void> {
    const repeated = this.#pipe.written - offset
    // An end of file may have offset 0 and no data: that is how the SDK closes stdin after a failed write.
    if (repeated < 0 && data.length > 0) {
      throw new StatusError(status.OUT_OF_RANGE, `Stdin has ${this.#pipe.written} bytes, the write starts at ${offset}`)
    }
    const rest = data.subarray(repeated)
    if (rest.length > 0) await this.#send(rest)
    if (eof && !this.#pipe.closed) this.#pipe.end()
  }

  async #send (data: Buffer): Promise<void> {
    if (this.#pipe.closed) throw failedPrecondition('Stdin is closed')
    try {
      await this.#pipe.write(data)
    } catch (error) {
      throw failedPrecondition('The process no longer reads its stdin', error)
    }
  }
}

/** A command in a sandbox, and the way to its standard input. */
export interface Exec { process: Process, stdin: StdinWriter }
