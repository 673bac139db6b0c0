import { createHash, timingSafeEqual } from 'node:crypto'
import type { IncomingMessage, RequestListener, ServerResponse } from 'node:http'
import { Value } from '@sinclair/typebox/value'
import type { Log } from '../log.js'
import { answer, sendError, sendJson } from './answer.js'
import { MessagesRequest, readConversation, type Conversation } from './conversation.js'
import { ScriptProgress, scriptIn, turnAt, type Script, type Turn } from './script.js'
import { demoTurn } from './demo.js'
import { estimateTokens, newId } from './wire.js'

const maxRequests = 200
const maxPromptLength = 10_000
const maxBodyBytes = 32 * 1024 * 1024

/** What is kept of a request: neither its key nor its headers. */
export interface RecordedRequest {
  /** Milliseconds since the epoch. */
  at: number
  method: string
  path: string
  keyMatched: boolean
  model?: string
  stream?: boolean
  /** How much Claude is to think, as the client asks for. */
  effort?: string
  /** The first 10,000 characters of the last prompt. */
  prompt?: string
  /** Digest of the whole prompt, in hex. */
  promptSha256?: string
}

export type ModelLog = Pick<Log, 'debug' | 'error'>

interface HandlerOptions {
  apiKey: string
  scripts: ReadonlyMap<string, Script>
  requests: RecordedRequest[]
  log: ModelLog | undefined
}

/** The HTTP side: routes, key, body, and the choice of the turn. */
export function createHandler ({ apiKey, scripts, requests, log }: HandlerOptions): RequestListener {
  const progress = new ScriptProgress()

  return (request, response) => {
    response.setHeader('request-id', newId('req'))
    route(request, response).catch((error: Error) => {
      if (response.destroyed) return
      log?.error({ err: error }, 'the scripted model failed')
      if (response.headersSent) response.destroy()
      else sendError(response, { status: 500, message: 'The scripted model failed' })
    })
  }

  async function route (request: IncomingMessage, response: ServerResponse) {
    const { method = '', url = '/' } = request
    const path = url.replace(/\?.*/s, '')
    const record = remember({ at: Date.now(), method, path, keyMatched: hasKey(request, apiKey) })
    log?.debug({ ...record }, 'scripted model request')

    if (method === 'HEAD' && path === '/api/hello') return response.writeHead(200).end()
    if (method !== 'POST' || !['/v1/messages', '/v1/messages/count_tokens'].includes(path)) {
      return sendError(response, { status: 404, message: `${method} ${path}: not found` })
    }
    if (!record.keyMatched) return sendError(response, { status: 401, message: 'invalid x-api-key' })

    const body = await readBody(request)
    if (body === undefined) return sendError(response, { status: 413, message: 'Request exceeds 32 MB' })
    const message = parseRequest(body)
    if (typeof message === 'string') return sendError(response, { status: 400, message })

    const inputTokens = estimateTokens(body.length)
    if (path.endsWith('/count_tokens')) return sendJson(response, 200, { input_tokens: inputTokens })

    const { model, stream = false, output_config: { effort } = {} } = message
    const conversation = readConversation(message)
    const { prompt } = conversation
    const promptSha256 = sha256(prompt).toString('hex')
    Object.assign(record, { model, stream, effort, prompt: prompt.slice(0, maxPromptLength), promptSha256 })
    const turn = nextTurn(conversation, sessionOf(request))
    await answer(response, turn, { model, inputTokens: turn.inputTokens ?? inputTokens }, stream)
  }

  function nextTurn (conversation: Conversation, sessionId: string): Turn {
    try {
      const script = scriptIn(conversation.prompt, scripts)
      if (script === undefined) return demoTurn(conversation, sessionId)
      return turnAt(script, progress.advance(sessionId, conversation), conversation)
    } catch (error) {
      return { blocks: [{ text: `The scripted block can't be used: ${(error as Error).message}` }] }
    }
  }

  function remember (record: RecordedRequest) {
    requests.push(record)
    if (requests.length > maxRequests) requests.shift()
    return record
  }
}

function hasKey ({ headers }: IncomingMessage, apiKey: string) {
  const keys = [String(headers['x-api-key']), String(headers.authorization).replace(/^Bearer /i, '')]
  return keys.some((key) => timingSafeEqual(sha256(key), sha256(apiKey)))
}

/**
 * Always reads to the end, so that the client gets to read the answer.
 * @returns undefined when the body is longer than Anthropic accepts
 */
async function readBody (request: IncomingMessage) {
  const chunks: Buffer[] = []
  let size = 0
  for await (const chunk of request as AsyncIterable<Buffer>) {
    size += chunk.length
    if (size <= maxBodyBytes) chunks.push(chunk)
  }
  return size > maxBodyBytes ? undefined : Buffer.concat(chunks).toString()
}

/** @returns what is wrong with the body when it is not a valid request */
function parseRequest (body: string): MessagesRequest | string {
  let parsed: unknown
  try {
    parsed = JSON.parse(body)
  } catch {
    return 'The request body is not valid JSON'
  }
  if (Value.Check(MessagesRequest, parsed)) return parsed
  const error = Value.Errors(MessagesRequest, parsed).First()
  return `${error?.path.slice(1).replaceAll('/', '.') || 'body'}: ${error?.message}`
}

function sessionOf ({ headers }: IncomingMessage) {
  return String(headers['x-claude-code-session-id'] ?? '')
}

function sha256 (text: string) {
  return createHash('sha256').update(text).digest()
}
