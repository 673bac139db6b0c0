import { randomBytes } from 'node:crypto'
import type { ApiError, Block, Turn } from './script.js'

/**
 * The Messages API's shapes: https://docs.claude.com/en/api/messages-streaming
 * and https://docs.claude.com/en/api/errors.
 */

const defaultChunk = 256
const inputJsonChunk = 64
const charactersPerToken = 4

interface SseEvent {
  type: string
  [field: string]: unknown
}

/** An event of a stream, and the pause before it. */
interface TimedEvent {
  event: SseEvent
  pauseMs: number
}

export interface MessageHead {
  model: string
  inputTokens: number
}

export function encodeEvent (event: SseEvent) {
  return `event: ${event.type}\ndata: ${JSON.stringify(event)}\n\n`
}

export function estimateTokens (characters: number) {
  return Math.max(1, Math.ceil(characters / charactersPerToken))
}

/** The stream of a turn. One that hangs has no closing events; one with an error ends with the `error` event. */
export function * eventsOf (turn: Turn, head: MessageHead): Generator<TimedEvent> {
  const blocks = turn.blocks ?? []
  yield now({ type: 'message_start', message: emptyMessage(head) })
  yield now({ type: 'ping' })
  for (const [index, block] of blocks.entries()) yield * eventsOfBlock(block, index)
  if (turn.error) yield now(errorBody(turn.error))
  if (turn.error ?? turn.hang) return

  const delta = { stop_reason: stopReasonOf(turn), stop_sequence: null }
  yield now({ type: 'message_delta', delta, usage: { output_tokens: outputTokensOf(blocks) } })
  yield now({ type: 'message_stop' })
}

/** A turn as a single JSON answer, for requests that don't stream. */
export function messageOf (turn: Turn, head: MessageHead) {
  const blocks = turn.blocks ?? []
  const message = emptyMessage(head)
  return {
    ...message,
    content: blocks.map(contentOf),
    stop_reason: stopReasonOf(turn),
    usage: { ...message.usage, output_tokens: outputTokensOf(blocks) }
  }
}

const errorTypes: Record<number, string> = {
  400: 'invalid_request_error',
  401: 'authentication_error',
  402: 'billing_error',
  403: 'permission_error',
  404: 'not_found_error',
  413: 'request_too_large',
  429: 'rate_limit_error',
  529: 'overloaded_error'
}

export function errorBody ({ status, type, message }: ApiError) {
  const known = errorTypes[status] ?? (status < 500 ? 'invalid_request_error' : 'api_error')
  return { type: 'error', error: { type: type ?? known, message: message ?? `Scripted error ${status}` } }
}

function * eventsOfBlock (block: Block, index: number): Generator<TimedEvent> {
  const delta = (fields: SseEvent, pauseMs = 0) => ({ event: { type: 'content_block_delta', index, delta: fields }, pauseMs })
  yield now({ type: 'content_block_start', index, content_block: emptyContentOf(block) })
  if ('tool' in block) {
    for (const json of chunksOf(JSON.stringify(block.input), inputJsonChunk)) {
      yield delta({ type: 'input_json_delta', partial_json: json })
    }
  } else if ('thinking' in block) {
    for (const thinking of chunksOf(block.thinking, block.chunk)) {
      yield delta({ type: 'thinking_delta', thinking }, block.delayMs)
    }
    yield delta({ type: 'signature_delta', signature: randomBytes(48).toString('base64') })
  } else {
    for (const text of chunksOf(fullText(block), block.chunk)) yield delta({ type: 'text_delta', text }, block.delayMs)
  }
  yield now({ type: 'content_block_stop', index })
}

function now (event: SseEvent): TimedEvent {
  return { event, pauseMs: 0 }
}

/** Pieces of about `size` UTF-16 units. Surrogate pairs stay whole: half of one is not valid UTF-8. */
function * chunksOf (text: string, size = defaultChunk) {
  for (let start = 0, end; start < text.length; start = end) {
    end = start + size
    if (/[\ud800-\udbff]/.test(text.charAt(end - 1))) end++
    yield text.slice(start, end)
  }
}

function fullText (block: { text: string, repeat?: number }) {
  return block.text.repeat(block.repeat ?? 1)
}

function emptyMessage ({ model, inputTokens }: MessageHead) {
  const usage = {
    input_tokens: inputTokens, cache_creation_input_tokens: 0, cache_read_input_tokens: 0, output_tokens: 1
  }
  return {
    id: newId('msg'), type: 'message', role: 'assistant', model, content: [], stop_reason: null, stop_sequence: null, usage
  }
}

function emptyContentOf (block: Block) {
  if ('tool' in block) return { ...contentOf(block), input: {} }
  return 'thinking' in block ? { type: 'thinking', thinking: '', signature: '' } : { type: 'text', text: '' }
}

function contentOf (block: Block) {
  if ('tool' in block) return { type: 'tool_use', id: newId('toolu'), name: block.tool, input: block.input }
  if ('text' in block) return { type: 'text', text: fullText(block) }
  return { type: 'thinking', thinking: block.thinking, signature: randomBytes(48).toString('base64') }
}

function stopReasonOf ({ stopReason, blocks = [] }: Turn) {
  return stopReason ?? (blocks.some((block) => 'tool' in block) ? 'tool_use' : 'end_turn')
}

function outputTokensOf (blocks: Block[]) {
  return estimateTokens(blocks.reduce((sum, block) => sum + lengthOf(block), 0))
}

function lengthOf (block: Block) {
  if ('tool' in block) return JSON.stringify(block.input).length
  return 'thinking' in block ? block.thinking.length : block.text.length * (block.repeat ?? 1)
}

/** An id in the style of the API, such as `msg_01f3…`. */
export function newId (prefix: string) {
  return `${prefix}_${randomBytes(12).toString('hex')}`
}
