import { readRecord, separator, type RunRecord } from './records.js'

/**
 * What a piece of the log is: one object of the CLI's stream, a record of the runner's, or anything else as text.
 * `size` is how many bytes of the line it takes.
 */
export type Piece = { size: number } &
  ({ json: string, object: Record<string, unknown> } | { record: RunRecord } | { text: string })

const newline = 0x0a
const openingBrace = 0x7b
/** Nothing the CLI says is near this; without a limit, output that has no line ends would fill the memory. */
export const maxLineBytes = 16 * 1024 * 1024
/** CSI, OSC and two-character escapes, and control characters but tab and line feed. */
// eslint-disable-next-line no-control-regex
const terminalCodes = /\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)?|\x1b[ -/]*[0-~]|[\x00-\x08\x0b-\x1f\x7f]/g
/** The beginning of a code whose end has not arrived. */
// eslint-disable-next-line no-control-regex
const unfinishedCode = /\x1b(?:\[[0-?]*[ -/]*|\][^\x07\x1b]*|[ -/]*)$/

/** Cuts a byte stream into lines, whatever the borders of its chunks, and says where each one ends. */
export class LineSplitter {
  #pieces: Buffer[] = []
  #pending = 0
  #offset: number
  readonly #limit: number

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

  /** The last line when nothing ended it. */
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
 * A terminal's codes may be glued in front of an object; everything else in front of it is output of its own.
 * @param redact takes out what nobody may see.
 */
export function readLine (line: Buffer, redact = (text: string) => text): Piece[] {
  const mark = line.indexOf(separator)
  const record = mark === -1 ? undefined : readRecord(line.toString('utf8', mark + 1))
  if (record !== undefined) {
    return [...mark === 0 ? [] : readLine(line.subarray(0, mark), redact), { record, size: line.length - mark }]
  }
  const brace = line.indexOf(openingBrace)
  if (brace !== -1) {
    const json = redact(line.toString('utf8', brace)).trimEnd()
    const object = parseObject(json)
    // In valid JSON a bare CR only parts tokens; in an event it would end the line.
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

export function stripCodes (text: string): string {
  return text.replace(terminalCodes, '')
}

/** How many characters at the end may be the beginning of a terminal code. */
export function unfinishedLength (text: string): number {
  return unfinishedCode.exec(text.slice(-100))?.[0].length ?? 0
}

function parseObject (json: string): Record<string, unknown> | undefined {
  try {
    const value = JSON.parse(json)
    return typeof value?.type === 'string' ? value : undefined
  } catch {
    return undefined
  }
}
