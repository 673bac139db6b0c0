import { once } from 'node:events'
import { PassThrough, type Readable } from 'node:stream'
import { AppError } from '../../errors.js'
import type { Exec } from '../sandboxes/exec.js'
import { fileError, unexpected } from './script.js'

const bufferBytes = 1024 * 1024
/** The size of a file, when it was modified, in seconds since 1970, and of a small one the SHA-256. */
const headPattern = /^(\d{1,15}) (-?\d{1,11})(?: ([0-9a-f]{64}))?$/
const longestLine = 100

export interface FileContent {
  size: number
  modifiedAt: Date
  /** The SHA-256 of the content, in hex; only of a small file. */
  digest?: string
  /** Exactly `size` bytes, or an error. To be read or destroyed. */
  body: Readable
}

type Head = Omit<FileContent, 'body'>

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
  /** What the first line says, once there is a first byte of content, or all of none: until then reading can fail. */
  readonly head: Promise<Head>
  readonly #body: PassThrough
  #found!: (head: Head) => void
  #lost!: (error: Error) => void
  #line = ''
  #announced: Head | undefined
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
    else if (this.#announced === undefined) await this.#takeLine(bytes, left)
    else await this.#pass(bytes, this.#announced, left)
  }

  end (exitCode: number): void {
    const head = this.#announced
    if (exitCode !== 0 || head === undefined) return this.fail(fileError(exitCode, this.#complaint))
    if (this.#passed < head.size) return this.fail(new AppError('FILE_FAILED', { message: 'The file became shorter while it was read.' }))
    this.#found(head)
    this.#body.end()
  }

  fail (error: Error): void {
    this.#lost(error)
    this.#body.destroy(error)
  }

  async #takeLine (bytes: Uint8Array, left: AbortSignal) {
    const end = bytes.indexOf(10)
    this.#line += Buffer.from(bytes.subarray(0, end === -1 ? longestLine : end)).toString('latin1')
    const [, digits, seconds, digest] = headPattern.exec(this.#line) ?? []
    if (end === -1 && this.#line.length < longestLine) return
    // Whoever owns the sandbox can replace its programs: the size becomes the length of the response.
    if (end === -1 || digits === undefined) throw unexpected()
    this.#announced = {
      size: Number(digits), modifiedAt: new Date(Number(seconds) * 1000), ...(digest !== undefined && { digest })
    }
    await this.#pass(bytes.subarray(end + 1), this.#announced, left)
  }

  /** A file that grows while it is read keeps the size that was announced. */
  async #pass (bytes: Uint8Array, head: Head, left: AbortSignal) {
    const wanted = bytes.subarray(0, head.size - this.#passed)
    if (wanted.length === 0) return
    this.#passed += wanted.length
    this.#found(head)
    if (this.#body.write(wanted)) return
    await once(this.#body, 'drain', { signal: left }).catch(() => {})
  }
}
