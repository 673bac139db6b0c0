import { toRecord } from '../../lib/json.js'
import { likelyPromptTokens, type Asked } from './asked.js'
import { textTokens } from './text-tokens.js'

/** Tokens by the API's own names, as the completion of a run has them, and what else its price depends on. */
export interface Usage {
  input_tokens: number
  output_tokens: number
  cache_creation_input_tokens: number
  cache_creation_1h_input_tokens: number
  cache_read_input_tokens: number
  web_search_requests: number
  fast: boolean
  inUs: boolean
}

export const noUsage: Readonly<Usage> = {
  input_tokens: 0,
  output_tokens: 0,
  cache_creation_input_tokens: 0,
  cache_creation_1h_input_tokens: 0,
  cache_read_input_tokens: 0,
  web_search_requests: 0,
  fast: false,
  inUs: false
}

/** A longer line, frame or body is not looked into; the API's events that count are short. */
const longest = 1024 * 1024
const longestBody = 32 * 1024 * 1024
const tokensPerSecond = 150
/** Text comes more often; in a longer pause Claude thinks, which need not be seen. */
const pauseMs = 1000

/** What was used beside an answer, by its own model or another. */
interface ExtraUsage { model: string | undefined, usage: Usage }

/** Reads from an answer, as it passes, what it costs. */
export class UsageReader {
  #usage: Usage | undefined
  #extra: ExtraUsage[] = []
  #model: string | undefined
  #final = false
  /** Tokens of text, thinking and tool input, about. */
  #said = 0
  /** Since when nothing came of the answer, and how long that took before. */
  #pausedAt: number
  #pausedMs = 0
  /** Tools that the API has run itself. */
  #ownTools = 0
  #webSearches = 0
  readonly #push: (chunk: Buffer) => void
  readonly #end: () => void

  /** @param sentAt when the request was sent, by `performance.now()`. */
  constructor (contentType: string, sentAt = performance.now()) {
    this.#pausedAt = sentAt
    const framing = contentType.startsWith('text/event-stream')
      ? readLines((line) => { if (line.startsWith('data:')) this.#readEvent(line.slice(5)) })
      : contentType.startsWith('application/vnd.amazon.eventstream')
        ? readFrames((payload) => { this.#readEvent(unwrap(payload)) })
        : readWhole((body) => { this.#readBody(body) })
    this.#push = framing.push
    this.#end = framing.end
  }

  push (chunk: Buffer): void {
    this.#push(chunk)
  }

  end (): void {
    this.#end()
  }

  /** By the answer's own word. */
  get model (): string | undefined {
    return this.#model
  }

  /** What its totals are without. */
  get extra (): readonly ExtraUsage[] {
    return this.#extra
  }

  /** What was used, if the API came to say so. */
  get usage (): Usage | undefined {
    return this.#final ? this.#usage : undefined
  }

  /**
   * What an answer that was cut has used, rather too much: the prompt by what was asked, the answer by what came of it
   * and by the time in which nothing did, and each tool of the API's as one more look at the prompt.
   */
  estimate (asked: Asked, body: Uint8Array): Usage {
    this.#endPause()
    const known = this.#usage ?? unseen(asked, body)
    const thought = this.#pausedMs / 1000 * tokensPerSecond
    const output = Math.max(this.#said, Math.min(this.#said + thought, asked.outputTokens))
    return {
      ...known,
      input_tokens: known.input_tokens * (1 + this.#ownTools),
      cache_read_input_tokens: known.cache_read_input_tokens +
        this.#ownTools * (known.cache_read_input_tokens + known.cache_creation_input_tokens),
      output_tokens: Math.max(known.output_tokens, Math.ceil(output)),
      web_search_requests: Math.max(known.web_search_requests, this.#webSearches)
    }
  }

  #endPause () {
    const now = performance.now()
    if (now - this.#pausedAt > pauseMs || this.#usage === undefined) this.#pausedMs += now - this.#pausedAt
    this.#pausedAt = now
  }

  #readBody (text: string) {
    const body = parse(text)
    if (body === undefined) return
    this.#take(body['usage'])
    this.#takeModel(body['model'])
    this.#final = this.#usage !== undefined
  }

  #readEvent (json: string) {
    if (json.includes('_delta"') && !json.includes('"message_delta"')) {
      this.#said += deltaTokens(json)
      this.#endPause()
      return
    }
    if (json.includes('"server_tool_use"') && json.includes('"content_block_start"')) {
      this.#ownTools++
      if (json.includes('"web_search"')) this.#webSearches++
    }
    if (!json.includes('"message_start"') && !json.includes('"message_delta"')) return
    const event = parse(json)
    if (event?.['type'] === 'message_start') {
      const message = toRecord(event['message'])
      this.#pausedAt = performance.now()
      this.#take(message?.['usage'])
      this.#takeModel(message?.['model'])
    }
    if (event?.['type'] === 'message_delta' && toRecord(event['usage']) !== undefined) {
      this.#take(event['usage'])
      this.#final = true
    }
  }

  #takeModel (model: unknown) {
    if (typeof model === 'string') this.#model = model
  }

  /** Later counts are totals, and may leave out what has not changed. */
  #take (value: unknown) {
    const usage = toRecord(value)
    if (usage === undefined) return
    this.#usage = readUsage(usage, this.#usage ?? noUsage)
    if (Array.isArray(usage['iterations'])) this.#extra = usage['iterations'].map(toRecord).flatMap(readExtra)
  }
}

function readUsage (usage: Record<string, unknown>, before: Usage): Usage {
  const count = (from: Record<string, unknown> | undefined, name: string, known: number) => {
    const number = from?.[name]
    return typeof number === 'number' && number >= 0 && Number.isFinite(number) ? Math.max(known, number) : known
  }
  return {
    input_tokens: count(usage, 'input_tokens', before.input_tokens),
    output_tokens: count(usage, 'output_tokens', before.output_tokens),
    cache_creation_input_tokens: count(usage, 'cache_creation_input_tokens', before.cache_creation_input_tokens),
    cache_creation_1h_input_tokens: count(
      toRecord(usage['cache_creation']), 'ephemeral_1h_input_tokens', before.cache_creation_1h_input_tokens),
    cache_read_input_tokens: count(usage, 'cache_read_input_tokens', before.cache_read_input_tokens),
    web_search_requests: count(toRecord(usage['server_tool_use']), 'web_search_requests', before.web_search_requests),
    fast: before.fast || usage['speed'] === 'fast',
    inUs: before.inUs || usage['inference_geo'] === 'us'
  }
}

/** Of a compaction, or of another model that was asked for advice: the totals are without them. */
function readExtra (part: Record<string, unknown> | undefined): ExtraUsage[] {
  if (part?.['type'] !== 'compaction' && part?.['type'] !== 'advisor_message') return []
  const { model } = part
  return [{ model: typeof model === 'string' ? model : undefined, usage: readUsage(part, noUsage) }]
}

/** Of an answer that has not begun: all of the prompt is written to the cache, if it asks for one. */
function unseen (asked: Asked, body: Uint8Array): Usage {
  const prompt = likelyPromptTokens(asked, body)
  return {
    ...noUsage,
    ...(asked.cache === undefined ? { input_tokens: prompt } : { cache_creation_input_tokens: prompt }),
    ...(asked.cache === '1h' && { cache_creation_1h_input_tokens: prompt }),
    fast: asked.fast,
    inUs: asked.inUs
  }
}

/** Tokens of text, thinking or tool input. */
function deltaTokens (json: string): number {
  const delta = toRecord(parse(json)?.['delta']) ?? { json }
  let said = ''
  for (const [name, value] of Object.entries(delta)) {
    if (name !== 'type') said += typeof value === 'string' ? value : JSON.stringify(value)
  }
  return Math.max(1, textTokens(Buffer.from(said)))
}

export function addUsage (one: Usage, other: Usage): Usage {
  const sum = { ...one }
  for (const [name, value] of Object.entries(other)) {
    if (typeof value === 'number') (sum as unknown as Record<string, number>)[name]! += value
  }
  return sum
}

interface Framing { push: (chunk: Buffer) => void, end: () => void }

function readLines (onLine: (line: string) => void): Framing {
  let rest: Buffer[] = []
  let length = 0
  const push = (chunk: Buffer) => {
    let start = 0
    for (let end = chunk.indexOf(10); end !== -1; end = chunk.indexOf(10, start)) {
      const part = chunk.subarray(start, end)
      onLine(length === 0 ? part.toString() : Buffer.concat([...rest, part]).toString())
      rest = []
      length = 0
      start = end + 1
    }
    if (start === chunk.length || length > longest) return
    rest.push(chunk.subarray(start))
    length += chunk.length - start
  }
  return { push, end () {} }
}

/**
 * Frames of Amazon's event stream: total length, length of the headers, checksum, headers, payload, checksum. The
 * payload is all that counts here, so its place is read without the SDK's codec.
 */
function readFrames (onPayload: (payload: string) => void): Framing {
  let rest = Buffer.alloc(0)
  /** Bytes of a frame that is too long to be kept. */
  let skip = 0
  const push = (chunk: Buffer) => {
    const skipped = Math.min(skip, chunk.length)
    skip -= skipped
    rest = Buffer.concat([rest, chunk.subarray(skipped)])
    while (rest.length >= 12) {
      const total = rest.readUInt32BE(0)
      const headers = rest.readUInt32BE(4)
      if (total < 16 || headers > total - 16) {
        skip = Infinity
        return
      }
      if (total > longest) {
        skip = Math.max(0, total - rest.length)
        rest = rest.subarray(Math.min(total, rest.length))
        continue
      }
      if (rest.length < total) return
      onPayload(rest.toString('utf8', 12 + headers, total - 4))
      rest = rest.subarray(total)
    }
  }
  return { push, end () {} }
}

function readWhole (onBody: (body: string) => void): Framing {
  const chunks: Buffer[] = []
  let length = 0
  return {
    push: (chunk) => {
      length += chunk.length
      if (length <= longestBody) chunks.push(chunk)
    },
    end: () => { if (length <= longestBody) onBody(Buffer.concat(chunks).toString()) }
  }
}

/** Bedrock wraps each event of the API. */
function unwrap (payload: string): string {
  const bytes = parse(payload)?.['bytes']
  return typeof bytes === 'string' ? Buffer.from(bytes, 'base64').toString() : ''
}

function parse (json: string): Record<string, unknown> | undefined {
  try {
    return toRecord(JSON.parse(json))
  } catch {
    return undefined
  }
}
