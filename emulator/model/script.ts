import { Type, type Static } from '@sinclair/typebox'
import { Value } from '@sinclair/typebox/value'
import type { Conversation } from './conversation.js'

const strict = { additionalProperties: false } as const
const Millis = Type.Integer({ minimum: 0, maximum: 600_000 })
const MAX_TEXT = 32_000_000
const Chunk = Type.Integer({ minimum: 1 })

/** Text `repeat` times over, in deltas of `chunk` UTF-16 units (a character is never cut), `delayMs` apart. */
const TextBlock = Type.Object({
  text: Type.String(),
  repeat: Type.Optional(Type.Integer({ minimum: 1 })),
  chunk: Type.Optional(Chunk),
  delayMs: Type.Optional(Millis)
}, strict)

const ThinkingBlock = Type.Object({
  thinking: Type.String(), chunk: Type.Optional(Chunk), delayMs: Type.Optional(Millis)
}, strict)

const ToolBlock = Type.Object({ tool: Type.String(), input: Type.Record(Type.String(), Type.Unknown()) }, strict)

const Block = Type.Union([TextBlock, ThinkingBlock, ToolBlock])
export type Block = Static<typeof Block>

const ApiError = Type.Object({
  status: Type.Integer({ minimum: 400, maximum: 599 }),
  type: Type.Optional(Type.String()),
  message: Type.Optional(Type.String()),
  /** Seconds, sent as `retry-after`. */
  retryAfter: Type.Optional(Type.Integer({ minimum: 0 }))
}, strict)
export type ApiError = Static<typeof ApiError>

const Turn = Type.Object({
  blocks: Type.Optional(Type.Array(Block)),
  /** Silence before the answer. */
  delayMs: Type.Optional(Millis),
  /** Answers with this status; after blocks that were streamed, with an SSE `error` event. */
  error: Type.Optional(ApiError),
  /** Breaks the connection after so many SSE events. An answer that is not streamed arrives whole. */
  cutAfter: Type.Optional(Type.Integer({ minimum: 0 })),
  /** Never ends: silence from the start, or after the blocks. */
  hang: Type.Optional(Type.Boolean()),
  /** `tool_use` after a tool and `end_turn` otherwise when not given. */
  stopReason: Type.Optional(Type.String()),
  /** Answers this many requests, 1 when not given. */
  repeat: Type.Optional(Type.Integer({ minimum: 1, maximum: 1000 }))
}, strict)
export type Turn = Static<typeof Turn>

const Script = Type.Array(Type.Union([Turn, Type.Array(Block)]), { minItems: 1 })
/** One turn for every request of a prompt; a bare list of blocks is a turn of nothing else. */
export type Script = Static<typeof Script>

/** @throws Error that says where the value isn't a script */
export function checkScript (value: unknown): Script {
  const error = Value.Errors(Script, value).First()
  if (error) throw new Error(`not a script at ${error.path || '/'}: ${error.message.toLowerCase()}`)
  const script = value as Script
  const length = script.flatMap(blocksOf).reduce((sum, block) => sum + textLength(block), 0)
  if (length > MAX_TEXT) throw new Error(`a script holds at most ${MAX_TEXT} characters of text`)
  return script
}

function blocksOf (turn: Script[number]) {
  return Array.isArray(turn) ? turn : turn.blocks ?? []
}

function textLength (block: Block) {
  return 'text' in block ? block.text.length * (block.repeat ?? 1) : 0
}

const FENCE = /^```scripted[ \t]*\r?\n([\s\S]*?)\r?\n```[ \t]*$/m

/**
 * The script a prompt asks for: a code block fenced as `scripted` that holds the name of a registered script,
 * or the script itself as JSON. Undefined when there is no such block.
 * @throws Error that says what is wrong with the block
 */
export function scriptIn (prompt: string, registered: ReadonlyMap<string, Script>): Script | undefined {
  const asked = FENCE.exec(prompt)?.[1]?.trim()
  if (asked === undefined) return
  if (!asked.startsWith('[')) {
    const script = registered.get(asked)
    if (script === undefined) throw new Error(`no script is registered as "${asked}"`)
    return script
  }
  return checkScript(JSON.parse(asked))
}

/**
 * The turn for the next request of a prompt, after `served` requests. Past the end a failure goes on (the API is
 * still down, the key still wrong), anything else ends with a text: a script can't make the client loop.
 */
export function turnAt (script: Script, served: number): Turn {
  const turns = script.map((turn) => Array.isArray(turn) ? { blocks: turn } : turn)
  const given = turns.flatMap((turn) => Array<Turn>(turn.repeat ?? 1).fill(turn))
  const last = given.at(-1)
  const failing = last !== undefined && (last.error ?? last.cutAfter ?? last.hang) !== undefined
  return given[served] ?? (failing ? last : { blocks: [{ text: 'The script has ended.' }] })
}

/** How many requests each running script has answered. Only the newest prompts are remembered. */
export class ScriptProgress {
  #served = new Map<string, number>()

  /** @returns the number of requests answered before this one */
  advance (sessionId: string, { promptNumber, prompt }: Conversation) {
    const key = `${sessionId} ${promptNumber} ${prompt.slice(0, 1000)}`
    const served = this.#served.get(key) ?? 0
    this.#served.delete(key)
    this.#served.set(key, served + 1)
    const [oldest] = this.#served.keys()
    if (this.#served.size > 500 && oldest !== undefined) this.#served.delete(oldest)
    return served
  }
}
