import { once } from 'node:events'
import { PassThrough, type Readable } from 'node:stream'
import { AppError } from '../../errors.js'
import type { Exec } from '../sandboxes/exec.js'
import { fileError, unexpected } from './script.js'

const bufferBytes = 1024 * 1024
/** The size of a file, and when it was modified, in seconds since 1970. */
const headPattern = /^(\d{1,15}) (-?\d{1,11})$/
const longestLine = 100

export interface FileContent {
  size: number
  modifiedAt: Date
  /** Exactly `size` bytes, or an error. To be read or destroyed. */
  body: Readable
}

/**
 * The script's answer to `read`: a line about the file, then its bytes, as fast as they are taken.
 * @param signal aborts when the reader has gone; destroying the body does the same.
 * @throws {AppError} when there is no content.
 */
export async function readContent (exec: Exec, signal: AbortSignal): Promise<FileContent> {
  const body = new PassThrough({ highWaterMark: bufferBytes })
  const reading = new Reading(body)
  const left = new AbortController()
  body.on('close', () => left.abort()).on('error', () => {})
  signal.addEventListener('abort', () => left.abort(), { once: true })
  exec.pipe(left.signal, (stream, bytes) => reading.take(stream, bytes, left.signal)).then(
    ({ exitCode }) => reading.end(exitCode), (error: Error) => reading.fail(error))
  return { ...await reading.head, body }
}

class Reading {
  /** What the first line says. */
  readonly head: Promise<Omit<FileContent, 'body'>>
  readonly #body: PassThrough
  #found!: (head: Omit<FileContent, 'body'>) => void
  #lost!: (error: Error) => void
  #line = ''
  #size: number | undefined
  #passed = 0
  #complaint = ''

  constructor (body: PassThrough) {
    this.#body = body
    this.head = new Promise((resolve, reject) => {
      this.#found = resolve
      this.#lost = reject
    })
  }

  async take (stream: 'stdout' | 'stderr', bytes: Uint8Array, left: AbortSignal): Promise<void> {
    if (stream === 'stderr') this.#complaint += Buffer.from(bytes.subarray(0, 1000 - this.#complaint.length)).toString()
    else if (this.#size === undefined) await this.#takeLine(bytes, left)
    else await this.#pass(bytes, this.#size, left)
  }

  end (exitCode: number): void {
    if (exitCode !== 0 || this.#size === undefined) return this.fail(fileError(exitCode, this.#complaint))
    if (this.#passed < this.#size) return this.fail(new AppError('FILE_FAILED', { message: 'The file became shorter while it was read.' }))
    this.#body.end()
  }

  fail (error: Error): void {
    this.#lost(error)
    this.#body.destroy(error)
  }

  async #takeLine (bytes: Uint8Array, left: AbortSignal) {
    const end = bytes.indexOf(10)
    this.#line += Buffer.from(bytes.subarray(0, end === -1 ? longestLine : end)).toString('latin1')
    const [, digits, seconds] = headPattern.exec(this.#line) ?? []
    if (end === -1 && this.#line.length < longestLine) return
    // Whoever owns the sandbox can replace its programs: the size becomes the length of the response.
    if (end === -1 || digits === undefined) throw unexpected()
    const size = Number(digits)
    this.#size = size
    this.#found({ size, modifiedAt: new Date(Number(seconds) * 1000) })
    await this.#pass(bytes.subarray(end + 1), size, left)
  }

  /** A file that grows while it is read keeps the size that was announced. */
  async #pass (bytes: Uint8Array, size: number, left: AbortSignal) {
    const wanted = bytes.subarray(0, size - this.#passed)
    this.#passed += wanted.length
    if (wanted.length === 0 || this.#body.write(wanted)) return
    await once(this.#body, 'drain', { signal: left }).catch(() => {})
  }
}
