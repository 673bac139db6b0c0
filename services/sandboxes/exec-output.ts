import { StringDecoder } from 'node:string_decoder'
import type { ContainerProcess } from 'modal'
import type { ExecSpec } from '../../schemas/exec.js'

export type StreamName = 'stdout' | 'stderr'
export type OnChunk = (stream: StreamName, bytes: Uint8Array) => Promise<void> | void

/** After the exit a stream may be held open by a grandchild: it is cut when it has nothing to say for this long, */
const quietMs = 2000
/** or when waiting for it has taken this long in all. Time spent on passing on what came does not count. */
const waitMs = 5000
const tickMs = 100

interface Reading { waiting: boolean, quiet: number, waited: number, cancel: () => void }

/** Reads both streams of a process side by side, as Modal holds up a process whose output nobody takes. */
export class ExecOutput {
  /** Settles when both have ended or were cut; rejects when one was lost. */
  readonly drained: Promise<void>
  readonly #readings: Reading[] = []

  /** @param onChunk is awaited before the stream's next chunk is read: that is the back-pressure. */
  constructor (process: ContainerProcess<Uint8Array>, onChunk: OnChunk) {
    this.drained = Promise.all([
      this.#read('stdout', process.stdout, onChunk), this.#read('stderr', process.stderr, onChunk)
    ]).then(() => {})
    this.drained.catch(() => {})
  }

  /** To be called when the process has ended: waits for the rest of its output, but not for ever. */
  async finish (): Promise<void> {
    const watch = setInterval(() => {
      for (const reading of this.#readings.filter(({ waiting }) => waiting)) {
        reading.quiet += tickMs
        reading.waited += tickMs
        if (reading.quiet >= quietMs || reading.waited >= waitMs) reading.cancel()
      }
    }, tickMs)
    try {
      await this.drained
    } finally {
      clearInterval(watch)
    }
  }

  cancel (): void {
    for (const reading of this.#readings) reading.cancel()
  }

  async #read (name: StreamName, stream: ReadableStream<Uint8Array>, onChunk: OnChunk) {
    const reader = stream.getReader()
    const reading: Reading = { waiting: true, quiet: 0, waited: 0, cancel: () => { reader.cancel().catch(() => {}) } }
    this.#readings.push(reading)
    while (true) {
      reading.waiting = true
      const { done, value } = await reader.read()
      reading.waiting = false
      reading.quiet = 0
      if (done) return
      await onChunk(name, value)
    }
  }
}

/**
 * Turns the bytes of one stream into text; a character that is split between two chunks stays whole. StringDecoder
 * takes a quarter of TextDecoder's time for this (which leaves its fast path when it has to keep state).
 */
export class ChunkEncoder {
  readonly #decoder: StringDecoder | undefined

  constructor (encoding: ExecSpec['encoding']) {
    this.#decoder = encoding === 'utf8' ? new StringDecoder('utf8') : undefined
  }

  encode (bytes: Uint8Array): string {
    return this.#decoder === undefined ? view(bytes).toString('base64') : this.#decoder.write(view(bytes))
  }

  /** What is left at the end: at most a replacement character for a broken one. */
  end (): string {
    return this.#decoder?.end() ?? ''
  }
}

/** Keeps the head of one stream and counts the rest. */
export class Collector {
  bytes = 0
  readonly #limit: number
  readonly #kept: Uint8Array[] = []

  constructor (limit: number) {
    this.#limit = limit
  }

  add (chunk: Uint8Array) {
    const room = this.#limit - this.bytes
    // A copy: a view would keep the whole message it came in.
    if (room > 0) this.#kept.push(chunk.slice(0, room))
    this.bytes += chunk.length
  }

  get truncated (): boolean {
    return this.bytes > this.#limit
  }

  /** Without the half character that a cut may leave. */
  text (encoding: ExecSpec['encoding']): string {
    const kept = Buffer.concat(this.#kept)
    if (encoding === 'base64') return kept.toString('base64')
    const decoder = new StringDecoder('utf8')
    return this.truncated ? decoder.write(kept) : decoder.end(kept)
  }
}

function view (bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
}
