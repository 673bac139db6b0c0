import { LineSplitter, readLine, stripCodes, unfinishedLength } from './lines.js'
import type { RunLog } from './log.js'

/** Takes one chunk of Claude's output after the other, and undefined at its end. */
export type Taker = (chunk: Buffer | undefined) => void

export interface OutputOptions {
  log: RunLog
  format: 'stream-json' | 'text'
  /** Values that must not be in any event. */
  secrets: readonly string[]
  onObject: (object: Record<string, unknown>) => void
}

/** Turns bytes into the run's events: objects of the CLI's stream are `claude`, everything else is `output`. */
export function takeOutput (options: OutputOptions): Taker {
  return options.format === 'text' ? takeText(options) : takeLines(options)
}

/** Text goes out as it comes; only a cut character, terminal code or secret waits for its rest. */
function takeText ({ log, secrets }: OutputOptions): Taker {
  const decoder = new TextDecoder()
  let held = ''
  let received = 0
  let position = 0
  return (chunk) => {
    received += chunk?.length ?? 0
    const text = held + decoder.decode(chunk, { stream: chunk !== undefined })
    const open = chunk === undefined ? 0 : Math.max(unfinishedLength(text), begunSecret(text, secrets))
    const ready = text.length - open
    held = text.slice(ready)
    const clean = redact(stripCodes(text.slice(0, ready)), secrets)
    if (clean === '') return
    const size = Math.max(1, received - Buffer.byteLength(held) - position)
    position += size
    log.append('output', JSON.stringify({ text: clean }), size)
  }
}

function takeLines ({ log, secrets, onObject }: OutputOptions): Taker {
  const splitter = new LineSplitter()
  let position = 0
  return (chunk) => {
    for (const { line, end } of chunk === undefined ? splitter.finish() : splitter.push(chunk)) {
      const pieces = readLine(redact(line.toString('utf8'), secrets))
      // Text in front of an object takes one byte of the line's, so that every event has a position of its own.
      const last = end - position - Math.max(0, pieces.length - 1)
      position = end
      if (pieces.length === 0) log.skip(last)
      for (const [index, piece] of pieces.entries()) {
        const size = index === pieces.length - 1 ? last : 1
        if ('text' in piece) {
          log.append('output', JSON.stringify(piece), size)
        } else {
          onObject(piece.object)
          log.append('claude', piece.json, size)
        }
      }
    }
  }
}

function redact (text: string, secrets: readonly string[]): string {
  return secrets.reduce((clean, secret) => clean.replaceAll(secret, '[redacted]'), text)
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
