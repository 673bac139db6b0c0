import { LineSplitter, readLine, stripCodes, unfinishedLength } from './lines.js'
import { pendingOf } from './permissions.js'
import { readRecord, separator, type RunRecord } from './records.js'
import { redact } from './redact.js'
import type { RunEvent } from './window.js'

/** An event, and what it was read from. */
export interface ParsedEvent extends RunEvent {
  object?: Record<string, unknown>
  record?: RunRecord
}

export interface OutputOptions {
  /** Records of any other run are just output. */
  run: string
  format: 'stream-json' | 'text'
  /** Values that must not be in any event. */
  secrets: readonly string[]
  /** Where in the log the bytes begin. */
  offset?: number
}

const newline = 0x0a
/** No record of ours is longer. */
const longestRecord = 16 * 1024

/**
 * Turns the bytes of a log into the run's events: objects of the CLI's stream are `claude`, everything else is
 * `output`. An event's id is the position just after it: reading on from there gives the events that come next.
 */
export class OutputParser {
  readonly #options: OutputOptions
  readonly #splitter: LineSplitter
  #position: number
  /** Text that waits for its rest. */
  #held: Buffer = Buffer.alloc(0)

  constructor (options: OutputOptions) {
    this.#options = options
    this.#position = options.offset ?? 0
    this.#splitter = new LineSplitter(this.#position)
  }

  /** Just after the last event, or the last bytes that are none. */
  get position (): number {
    return this.#position
  }

  push (chunk: Buffer): ParsedEvent[] {
    return this.#options.format === 'text' ? this.#readText(chunk, false) : this.#readLines(this.#splitter.push(chunk))
  }

  /** What is left when nothing comes any more. */
  finish (): ParsedEvent[] {
    return this.#options.format === 'text' ? this.#readText(Buffer.alloc(0), true) : this.#readLines(this.#splitter.finish())
  }

  #readLines (lines: Iterable<{ line: Buffer, end: number }>): ParsedEvent[] {
    const events: ParsedEvent[] = []
    for (const { line, end } of lines) {
      const pieces = readLine(line, (text) => this.#redact(text))
      for (const [index, piece] of pieces.entries()) {
        this.#position = index === pieces.length - 1 ? end : this.#position + piece.size
        if ('text' in piece) events.push(this.#output(piece.text))
        else if ('record' in piece) events.push(this.#record(piece.record))
        else events.push({ id: this.#position, event: 'claude', json: piece.json, object: piece.object })
      }
      this.#position = end
    }
    return events
  }

  /** Text goes out as it comes; only a cut character, terminal code, secret or record waits for its rest. */
  #readText (chunk: Buffer, last: boolean): ParsedEvent[] {
    const events: ParsedEvent[] = []
    let bytes = Buffer.concat([this.#held, chunk])
    const say = (size: number) => {
      const text = this.#redact(stripCodes(bytes.toString('utf8', 0, size)))
      this.#position += size
      bytes = bytes.subarray(size)
      if (text !== '') events.push(this.#output(text))
    }
    for (let mark = bytes.indexOf(separator); mark !== -1; mark = bytes.indexOf(separator)) {
      if (mark > 0) say(mark)
      const end = bytes.indexOf(newline)
      if (end === -1 && bytes.length < longestRecord && !last) break
      const record = end === -1 ? undefined : readRecord(bytes.toString('utf8', 1, end))
      if (record === undefined) {
        say(1)
      } else {
        this.#position += end + 1
        bytes = bytes.subarray(end + 1)
        events.push(this.#record(record))
      }
    }
    if (bytes[0] !== separator) say(last ? bytes.length : wholeLength(bytes, this.#options.secrets))
    this.#held = Buffer.from(bytes)
    return events
  }

  #record (record: RunRecord): ParsedEvent {
    const { run } = this.#options
    if (record.run !== run) return this.#output(`${JSON.stringify(record)}\n`)
    const id = this.#position
    if (record.record === 'ended') return { id, event: 'run.completed', json: '', record }
    if (record.record === 'asked') return { id, event: 'permission.requested', json: this.#redact(JSON.stringify(pendingOf(record))), record }
    if (record.record === 'resolved') {
      const { id: permission, decision, by } = record
      return { id, event: 'permission.resolved', json: JSON.stringify({ id: permission, decision, by }), record }
    }
    const { sandboxId, sessionId, startedAt } = record
    return { id, event: 'run.started', json: JSON.stringify({ runId: run, sandboxId, sessionId, startedAt }), record }
  }

  #output (text: string): ParsedEvent {
    return { id: this.#position, event: 'output', json: JSON.stringify({ text: this.#redact(text) }) }
  }

  #redact (text: string): string {
    return redact(text, this.#options.secrets)
  }
}

/** How many bytes can be told without cutting a character, a terminal code or a secret. */
function wholeLength (bytes: Buffer, secrets: readonly string[]): number {
  let length = bytes.length
  for (let back = 1; back <= Math.min(3, bytes.length); back++) {
    const byte = bytes[bytes.length - back]!
    if ((byte & 0xc0) === 0x80) continue
    const needed = byte >= 0xf0 ? 4 : byte >= 0xe0 ? 3 : byte >= 0xc0 ? 2 : 1
    if (needed > back) length -= back
    break
  }
  const text = bytes.toString('utf8', 0, length)
  const open = Math.max(unfinishedLength(text), begunSecret(text, secrets))
  return length - Buffer.byteLength(text.slice(text.length - open))
}

/** How many characters at the end may be the beginning of a secret. */
function begunSecret (text: string, secrets: readonly string[]): number {
  const lengths = secrets.map((secret) => {
    let length = Math.min(secret.length - 1, text.length)
    while (length > 0 && !text.endsWith(secret.slice(0, length))) length--
    return length
  })
  return Math.max(0, ...lengths)
}
