import { redact } from '../../lib/redact.js'
import type { RunEvent } from './event-buffer.js'
import { readRecord, separator, type EndedRecord, type RunRecord } from './records.js'
import { describeRequest } from './requests.js'

/** An event, and what it was read from. */
export interface ParsedEvent extends RunEvent {
  object?: Record<string, unknown>
  record?: RunRecord
}

export interface LogOptions {
  /** Records of any other run are plain output. */
  run: string
  format: 'stream-json' | 'text'
  /** Values that must not be in any event. */
  secrets: readonly string[]
  /** Where in the log the bytes begin. */
  offset?: number
  /** Where the log ends with the record of its end, when that is known. */
  end?: number | undefined
}

/** The record of the end that the log has last; whether it is true is for others to find out. */
export interface LastRecord extends ParsedEvent { record: EndedRecord, start: number }

/**
 * A piece of the log: one object of the CLI's stream, a record of the runner's, or anything else as text. `size` is how
 * many bytes of the line it takes; `from` where in the line it begins.
 */
type Piece = { size: number } &
  ({ json: string, object: Record<string, unknown> } | { record: RunRecord, from: number } | { text: string })

const newline = 0x0a
const openingBrace = 0x7b
/** In text output a record waits for its end no longer than this; none of ours is longer. */
const longestRecord = 16 * 1024
/** Nothing the CLI says is near this; without a limit, output that has no line ends would fill the memory. */
export const maxLineBytes = 16 * 1024 * 1024
/** CSI, OSC and two-character escapes, and control characters except tab and line feed. */
// eslint-disable-next-line no-control-regex
const terminalCodes = /\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)?|\x1b[ -/]*[0-~]|[\x00-\x08\x0b-\x1f\x7f]/g
/** The beginning of a code whose end has not arrived. */
// eslint-disable-next-line no-control-regex
const unfinishedCode = /\x1b(?:\[[0-?]*[ -/]*|\][^\x07\x1b]*|[ -/]*)$/

/**
 * Turns the bytes of a log into the run's events: objects of the CLI's stream are `claude`, everything else is
 * `output`. An event's id is the position just after it: reading on from there gives the events that come next.
 *
 * Anything in the sandbox can write a record. That of the beginning only counts as the log's first line, and that of
 * the end as its last: it is held back in {@link last} until either more follows, which makes it output, or somebody
 * knows better that the run has ended.
 */
export class LogParser {
  readonly #options: LogOptions
  readonly #splitter: LineSplitter
  #position: number
  /** Text that waits for its rest. */
  #held: Buffer = Buffer.alloc(0)
  #last: LastRecord | undefined

  constructor (options: LogOptions) {
    this.#options = options
    this.#position = options.offset ?? 0
    this.#splitter = new LineSplitter(this.#position)
  }

  /** Just after the last event, or after the last bytes that make none. */
  get position (): number {
    return this.#last?.start ?? this.#position
  }

  /** A record of the end that nothing has followed so far. */
  get last (): LastRecord | undefined {
    return this.#last
  }

  push (chunk: Buffer): ParsedEvent[] {
    if (chunk.length === 0) return []
    const { format } = this.#options
    return this.#settle(format === 'text' ? this.#readText(chunk, false) : this.#readLines(this.#splitter.push(chunk)))
  }

  /** What is left when the log has come to its end. */
  finish (): ParsedEvent[] {
    const events = this.#options.format === 'text' ? this.#readText(Buffer.alloc(0), true) : this.#readLines(this.#splitter.finish())
    const all = this.#settle(events)
    return this.#last === undefined ? all : [...all, this.#last]
  }

  /** Of records of the end, only one that nothing has followed may be true. */
  #settle (read: ParsedEvent[]): ParsedEvent[] {
    const isOver = this.#held.length === 0 && this.#splitter.isEmpty
    const events = this.#last === undefined ? read : [this.#last, ...read]
    const last = isOver && this.#options.end === undefined ? events.at(-1) : undefined
    this.#last = isEnd(last) ? last : undefined
    if (this.#last !== undefined) events.pop()
    return events.map((event) => {
      if (!isEnd(event) || event.id === this.#options.end) return event
      return this.#output(`${JSON.stringify(event.record)}\n`, event.id)
    })
  }

  #readLines (lines: Iterable<{ line: Buffer, end: number }>): ParsedEvent[] {
    const events: ParsedEvent[] = []
    for (const { line, end } of lines) {
      const lineStart = this.#position
      const pieces = readLine(line, (text) => this.#redact(text))
      for (const [index, piece] of pieces.entries()) {
        this.#position = index === pieces.length - 1 ? end : this.#position + piece.size
        if ('text' in piece) events.push(this.#output(piece.text))
        else if ('record' in piece) events.push(this.#record(piece.record, lineStart + piece.from))
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
    const emit = (size: number) => {
      const text = this.#redact(stripCodes(bytes.toString('utf8', 0, size)))
      this.#position += size
      bytes = bytes.subarray(size)
      if (text !== '') events.push(this.#output(text))
    }
    for (let mark = bytes.indexOf(separator); mark !== -1; mark = bytes.indexOf(separator)) {
      if (mark > 0) emit(mark)
      const end = bytes.indexOf(newline)
      if (end === -1 && bytes.length < longestRecord && !last) break
      const record = end === -1 ? undefined : readRecord(bytes.toString('utf8', 1, end))
      if (record === undefined) {
        emit(1)
      } else {
        const start = this.#position
        this.#position += end + 1
        bytes = bytes.subarray(end + 1)
        events.push(this.#record(record, start))
      }
    }
    if (bytes[0] !== separator) emit(last ? bytes.length : wholeLength(bytes, this.#options.secrets))
    this.#held = Buffer.from(bytes)
    return events
  }

  #record (record: RunRecord, start: number): ParsedEvent {
    const { run } = this.#options
    const isText = record.run !== run || (record.record === 'started' && start !== 0)
    if (isText) return this.#output(`${JSON.stringify(record)}\n`)
    const id = this.#position
    if (record.record === 'ended') return { id, event: 'run.completed', json: '', record, start } as LastRecord
    // In the log somebody else has written it.
    if (record.record === 'cut') return { ...this.#output(`${JSON.stringify(record)}\n`), record }
    if (record.record === 'asked') return { id, event: 'permission.requested', json: this.#redact(JSON.stringify(describeRequest(record))), record }
    if (record.record === 'resolved') {
      const { id: permission, decision, by } = record
      return { id, event: 'permission.resolved', json: JSON.stringify({ id: permission, decision, by }), record }
    }
    const { sandboxId, sessionId, startedAt } = record
    return { id, event: 'run.started', json: JSON.stringify({ runId: run, sandboxId, sessionId, startedAt }), record }
  }

  #output (text: string, id = this.#position): ParsedEvent {
    return { id, event: 'output', json: JSON.stringify({ text: this.#redact(text) }) }
  }

  #redact (text: string): string {
    return redact(text, this.#options.secrets)
  }
}

function isEnd (event: ParsedEvent | undefined): event is LastRecord {
  return event?.record?.record === 'ended'
}

/** Cuts a byte stream into lines, wherever its chunks are cut, and says where each one ends. */
export class LineSplitter {
  #pieces: Buffer[] = []
  #pending = 0
  #offset: number
  readonly #limit: number

  /** Whether no line has begun. */
  get isEmpty (): boolean {
    return this.#pending === 0
  }

  /** @param limit bytes after which a line is cut, always in the same place. */
  constructor (offset = 0, limit = maxLineBytes) {
    this.#offset = offset
    this.#limit = limit
  }

  * push (chunk: Buffer): Generator<{ line: Buffer, end: number }> {
    for (let start = 0; start < chunk.length;) {
      const at = chunk.indexOf(newline, start)
      const end = Math.min(at === -1 ? chunk.length : at, start + this.#limit - this.#pending)
      const full = this.#pending + end - start === this.#limit
      const terminated = end === at && !full
      // A copy: the rest must not keep a large chunk alive.
      this.#pieces.push(full || terminated ? chunk.subarray(start, end) : Buffer.from(chunk.subarray(start, end)))
      this.#pending += end - start
      this.#offset += end - start + (terminated ? 1 : 0)
      start = terminated ? end + 1 : end
      if (full || terminated) yield this.#take()
    }
  }

  /** The last line when no line feed ended it. */
  * finish (): Generator<{ line: Buffer, end: number }> {
    if (this.#pending > 0) yield this.#take()
  }

  #take (): { line: Buffer, end: number } {
    const line = this.#pieces.length === 1 ? this.#pieces[0]! : Buffer.concat(this.#pieces)
    this.#pieces = []
    this.#pending = 0
    return { line, end: this.#offset }
  }
}

/**
 * A terminal's codes may be glued in front of an object; anything else in front of it is output of its own.
 * @param redact takes out secrets.
 */
export function readLine (line: Buffer, redact = (text: string) => text): Piece[] {
  const mark = line.indexOf(separator)
  const record = mark === -1 ? undefined : readRecord(line.toString('utf8', mark + 1))
  if (record !== undefined) {
    const before = mark === 0 ? [] : readLine(line.subarray(0, mark), redact)
    return [...before, { record, size: line.length - mark, from: mark }]
  }
  const brace = line.indexOf(openingBrace)
  if (brace !== -1) {
    const json = redact(line.toString('utf8', brace)).trimEnd()
    const object = parseObject(json)
    // In valid JSON a bare CR only separates tokens; in an event it would end the line.
    if (object !== undefined) {
      const glue = readText(redact(line.toString('utf8', 0, brace)).replaceAll('^C', ''), brace, '')
      return [...glue, { json: json.replaceAll('\r', ' '), object, size: line.length - brace }]
    }
  }
  const text = redact(line.toString('utf8'))
  return readText(text.endsWith('\r') ? text.slice(0, -1) : text, line.length, '\n')
}

function readText (text: string, size: number, end: string): Piece[] {
  const clean = stripCodes(text)
  return clean === '' ? [] : [{ text: clean + end, size }]
}

function stripCodes (text: string): string {
  return text.replace(terminalCodes, '')
}

function parseObject (json: string): Record<string, unknown> | undefined {
  try {
    const value = JSON.parse(json)
    return typeof value?.type === 'string' ? value : undefined
  } catch {
    return undefined
  }
}

/** How many bytes can go out without cutting a character, a terminal code or a secret. */
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
  const open = Math.max(unfinishedCode.exec(text.slice(-100))?.[0].length ?? 0, begunSecret(text, secrets))
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
