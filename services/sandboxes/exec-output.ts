import { StringDecoder } from 'node:string_decoder'
import type { ExecSpec } from '../../schemas/exec.js'

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
