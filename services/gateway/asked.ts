/** What a request asks for, and the most that it may use. */
export interface Asked {
  model: string
  promptTokens: number
  outputTokens: number
  webSearches: number
  fast: boolean
  /** Whether all of the prompt is in the body. */
  isWhole: boolean
}

/** The longest that any model reads; also more than any answers with. */
const contextTokens = 1_000_000
/** Of a request that does not say: more than any model answers with. */
const mostTokens = 128_000
/** An image is scaled down to fewer, whatever its bytes are. */
const imageTokens = 5000
/** What the API adds, such as instructions for tools. */
const addedTokens = 2000
/** So often the model reads its prompt when the API runs tools itself, which is one answer. */
const passes = 10
/** Of a request that does not say. */
const mostSearches = 100
/** Deeper than any content of the API. */
const deepest = 8

const knownFields = new Set(['model', 'messages', 'system', 'tools', 'tool_choice', 'max_tokens', 'metadata', 'stop_sequences',
  'stream', 'temperature', 'top_k', 'top_p', 'thinking', 'service_tier', 'cache_control', 'context_management', 'output_config',
  'output_format', 'speed', 'inference_geo', 'anthropic_version', 'anthropic_beta', 'betas'])
/** Tools that the client runs. */
const clientTool = /^(custom|(bash|text_editor|computer|memory)_\d+)$/

type Fields = Record<string, unknown>

/** Takes a millisecond per 250 KB. What cannot be read counts with the most: the API may read it in another way. */
export function readAsked (body: Buffer | undefined): Asked {
  let request: Fields
  try {
    request = JSON.parse(String(body)) as Fields
    if (typeof request !== 'object' || request === null) throw new Error('not an object')
  } catch {
    request = { mcp_servers: [], speed: 'fast' }
  }
  const { model, max_tokens: maxTokens, speed } = request
  const extent = new Extent(request)
  const times = extent.usesServerTools ? passes : 1
  const bytes = (body?.length ?? 0) - extent.imageBytes
  const inBody = bytes + extent.images * imageTokens + addedTokens
  const outputTokens = typeof maxTokens === 'number' && maxTokens > 0 ? Math.min(maxTokens, contextTokens) : mostTokens
  return {
    model: typeof model === 'string' ? model : '',
    // No token is shorter than a byte.
    promptTokens: (extent.isWhole ? Math.min(inBody, contextTokens) : contextTokens) * times,
    outputTokens: outputTokens * times,
    webSearches: extent.webSearches,
    fast: speed === 'fast',
    isWhole: extent.isWhole
  }
}

/** How far a request's prompt is in its body. Only what is known to be bounded by its bytes counts as such. */
class Extent {
  isWhole = true
  usesServerTools = false
  webSearches = 0
  images = 0
  imageBytes = 0

  constructor (request: Fields) {
    const { messages, system, tools, mcp_servers: servers, container, context_management: management } = request
    if (Object.keys(request).some((name) => !knownFields.has(name))) this.isWhole = false
    if (servers !== undefined || container !== undefined) this.#useServerTools()
    this.#addContent(system)
    for (const message of listOf(messages)) this.#addContent(fieldsOf(message)['content'])
    for (const tool of listOf(tools)) this.#addTool(fieldsOf(tool))
    // Another kind than clearing, such as compaction, has the model read the prompt once more.
    const edits = listOf(fieldsOf(management)['edits']).map((edit) => String(fieldsOf(edit)['type']))
    if (edits.some((type) => !type.startsWith('clear_'))) this.#useServerTools()
  }

  #useServerTools () {
    this.isWhole = false
    this.usesServerTools = true
  }

  #addTool ({ type, max_uses: uses }: Fields) {
    if (type === undefined || type === null || clientTool.test(String(type))) return
    this.#useServerTools()
    if (String(type).startsWith('web_search')) {
      this.webSearches += typeof uses === 'number' && uses >= 0 ? Math.min(uses, mostSearches) : mostSearches
    }
  }

  #addContent (content: unknown, depth = 0) {
    if (content === undefined || content === null || typeof content === 'string') return
    if (!Array.isArray(content) || depth > deepest) {
      this.isWhole = false
      return
    }
    for (const block of content) this.#addBlock(fieldsOf(block), depth)
  }

  #addBlock ({ type, content, source }: Fields, depth: number) {
    const { type: from, data, content: parts } = fieldsOf(source)
    if (type === 'text' || type === 'thinking' || type === 'redacted_thinking' || type === 'tool_use') return
    if (type === 'tool_result') {
      this.#addContent(content, depth + 1)
    } else if (type === 'image' && from === 'base64' && typeof data === 'string') {
      this.images++
      this.imageBytes += data.length
    } else if (type === 'document' && from === 'content') {
      this.#addContent(parts, depth + 1)
    } else if (type !== 'document' || from !== 'text') {
      // A PDF too: its bytes say nothing of its pages.
      this.isWhole = false
    }
  }
}

function listOf (value: unknown): unknown[] {
  return Array.isArray(value) ? value : []
}

function fieldsOf (value: unknown): Fields {
  return typeof value === 'object' && value !== null ? value as Fields : {}
}
