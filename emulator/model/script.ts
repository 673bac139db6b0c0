import { Type, type Static } from '@sinclair/typebox'
import { Value } from '@sinclair/typebox/value'
import type { Conversation } from './conversation.js'

const strict = { additionalProperties: false } as const
const Millis = Type.Integer({ minimum: 0, maximum: 600_000 })
const maxTextLength = 32_000_000
const Chunk = Type.Integer({ minimum: 1 })

/** The text `repeat` times, in deltas of `chunk` UTF-16 units (characters are never split), `delayMs` apart. */
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

/** What a turn is made of when it is answered. */
export type Block = Static<typeof TextBlock> | Static<typeof ThinkingBlock> | Static<typeof ToolBlock>

/** Writes the plan into the file that the client names, as Claude does before it calls `ExitPlanMode`. */
const PlanBlock = Type.Object({ plan: Type.String() }, strict)

const ScriptedBlock = Type.Union([TextBlock, ThinkingBlock, ToolBlock, PlanBlock])
type ScriptedBlock = Static<typeof ScriptedBlock>

const ApiError = Type.Object({
  status: Type.Integer({ minimum: 400, maximum: 599 }),
  type: Type.Optional(Type.String()),
  message: Type.Optional(Type.String()),
  /** Seconds, sent as `retry-after`. */
  retryAfter: Type.Optional(Type.Integer({ minimum: 0 }))
}, strict)
export type ApiError = Static<typeof ApiError>

const ScriptedTurn = Type.Object({
  blocks: Type.Optional(Type.Array(ScriptedBlock)),
  /** Silence before the answer. */
  delayMs: Type.Optional(Millis),
  /** Answers with this status or, after blocks that were streamed, with an SSE `error` event. */
  error: Type.Optional(ApiError),
  /** Breaks the connection after this many SSE events. An answer that is not streamed arrives whole. */
  cutAfter: Type.Optional(Type.Integer({ minimum: 0 })),
  /** Never ends: silence from the start, or after the blocks. */
  hang: Type.Optional(Type.Boolean()),
  /** Default: `tool_use` after a tool, else `end_turn`. */
  stopReason: Type.Optional(Type.String()),
  /** What the answer says of the size of its request, in tokens. Default: estimated from its length. */
  inputTokens: Type.Optional(Type.Integer({ minimum: 0 })),
  /** How many requests it answers; default 1. */
  repeat: Type.Optional(Type.Integer({ minimum: 1, maximum: 1000 }))
}, strict)
type ScriptedTurn = Static<typeof ScriptedTurn>
export type Turn = Omit<ScriptedTurn, 'blocks'> & { blocks?: Block[] }

const Script = Type.Array(Type.Union([ScriptedTurn, Type.Array(ScriptedBlock)]), { minItems: 1 })
/** One turn per request of a prompt; a bare list of blocks is a turn with only these. */
export type Script = Static<typeof Script>

/** @throws {Error} saying where the value is not a valid script */
export function checkScript (value: unknown): Script {
  const error = Value.Errors(Script, value).First()
  if (error) throw new Error(`not a script at ${error.path || '/'}: ${error.message.toLowerCase()}`)
  const script = value as Script
  const length = script.flatMap(blocksOf).reduce((sum, block) => sum + textLength(block), 0)
  if (length > maxTextLength) throw new Error(`a script holds at most ${maxTextLength} characters of text`)
  return script
}

function blocksOf (turn: Script[number]) {
  return Array.isArray(turn) ? turn : turn.blocks ?? []
}

function textLength (block: ScriptedBlock) {
  return 'text' in block ? block.text.length * (block.repeat ?? 1) : 0
}

const scriptFence = /^```scripted[ \t]*\r?\n([\s\S]*?)\r?\n```[ \t]*$/m

/**
 * The script that a prompt asks for in a code block fenced as `scripted`: the name of a registered script, or the
 * script itself as JSON. Undefined without such a block.
 * @throws {Error} saying what is wrong with the block
 */
export function scriptIn (prompt: string, registered: ReadonlyMap<string, Script>): Script | undefined {
  const asked = scriptFence.exec(prompt)?.[1]?.trim()
  if (asked === undefined) return
  if (!asked.startsWith('[')) {
    const script = registered.get(asked)
    if (script === undefined) throw new Error(`no script is registered as "${asked}"`)
    return script
  }
  return checkScript(JSON.parse(asked))
}

/**
 * The turn for the next request of a prompt, after `served` requests. Past the end, a failure persists (the API is
 * still down, the key still wrong), and anything else ends with a text, so a script can't make the client loop.
 */
export function turnAt (script: Script, served: number, { plan }: Pick<Conversation, 'plan'>): Turn {
  const { blocks, ...turn } = scriptedTurnAt(script, served)
  return { ...turn, ...blocks && { blocks: blocks.map((block) => 'plan' in block ? writePlan(block.plan, plan) : block) } }
}

function writePlan (content: string, plan: Conversation['plan']): Block {
  if (plan === undefined) return { text: 'The client is not in plan mode: it names no file for a plan.' }
  return { tool: 'Write', input: { file_path: plan.file, content } }
}

function scriptedTurnAt (script: Script, served: number): ScriptedTurn {
  const turns = script.map((turn) => Array.isArray(turn) ? { blocks: turn } : turn)
  const given = turns.flatMap((turn) => Array<ScriptedTurn>(turn.repeat ?? 1).fill(turn))
  const last = given.at(-1)
  const failing = last !== undefined && (last.error ?? last.cutAfter ?? last.hang) !== undefined
  return given[served] ?? (failing ? last : { blocks: [{ text: 'The script has ended.' }] })
}

/** How many requests each running script has answered; kept for the latest prompts only. */
export class ScriptProgress {
  #served = new Map<string, number>()

  /** Counts a request. @returns the number of requests answered before it */
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
