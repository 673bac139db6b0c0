/** What a piece of Claude's output is: one object of its stream, or anything else as text. */
export type Piece = { json: string, object: Record<string, unknown> } | { text: string }

const newline = 0x0a
/** Nothing the CLI says is near this; without a limit, output that has no line ends would fill the memory. */
const maxLineBytes = 16 * 1024 * 1024
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
  #offset = 0
  readonly #limit: number

  /** @param limit bytes after which a line is cut. */
  constructor (limit = maxLineBytes) {
    this.#limit = limit
  }

  /** Bytes seen so far. */
  get offset (): number {
    return this.#offset
  }

  * push (chunk: Buffer): Generator<{ line: Buffer, end: number }> {
    let start = 0
    for (let at = chunk.indexOf(newline); at !== -1; at = chunk.indexOf(newline, start)) {
      this.#pieces.push(chunk.subarray(start, at))
      start = at + 1
      yield { line: this.#take(), end: this.#offset + start }
    }
    // A copy: the rest must not keep a large chunk alive.
    if (start < chunk.length) this.#pieces.push(Buffer.from(chunk.subarray(start)))
    this.#pending += chunk.length - start
    this.#offset += chunk.length
    if (this.#pending >= this.#limit) yield { line: this.#take(), end: this.#offset }
  }

  /** The last line when nothing ended it. */
  * finish (): Generator<{ line: Buffer, end: number }> {
    if (this.#pieces.length > 0) yield { line: this.#take(), end: this.#offset }
  }

  #take (): Buffer {
    const line = this.#pieces.length === 1 ? this.#pieces[0]! : Buffer.concat(this.#pieces)
    this.#pieces = []
    this.#pending = 0
    return line
  }
}

/** A terminal's codes may be glued in front of an object; everything else in front of it is output of its own. */
export function readLine (line: string): Piece[] {
  const text = line.endsWith('\r') ? line.slice(0, -1) : line
  const brace = text.indexOf('{')
  if (brace !== -1) {
    const json = text.slice(brace).trimEnd()
    const object = parseObject(json)
    // In valid JSON a bare CR only parts tokens; in an event it would end the line.
    if (object !== undefined) return [...readGlue(text.slice(0, brace)), { json: json.replaceAll('\r', ' '), object }]
  }
  return readText(text, '\n')
}

/** A terminal that echoes puts a typed interrupt in front of the line, as `^C`. */
function readGlue (text: string): Piece[] {
  return readText(text.replaceAll('^C', ''), '')
}

function readText (text: string, end: string): Piece[] {
  const clean = stripCodes(text)
  return clean === '' ? [] : [{ text: clean + end }]
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
