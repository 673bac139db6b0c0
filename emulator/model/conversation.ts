import { Type, type Static } from '@sinclair/typebox'

const Block = Type.Object({
  type: Type.String(),
  text: Type.Optional(Type.String()),
  content: Type.Optional(Type.Unknown()),
  is_error: Type.Optional(Type.Boolean()),
  source: Type.Optional(Type.Object({ media_type: Type.Optional(Type.String()), data: Type.Optional(Type.String()) }))
})
type Block = Static<typeof Block>

const Content = Type.Union([Type.String(), Type.Array(Block)])

/** The parts of a Messages API request that are used; the rest is ignored. */
export const MessagesRequest = Type.Object({
  model: Type.String(),
  messages: Type.Array(Type.Object({ role: Type.String(), content: Content }), { minItems: 1 }),
  system: Type.Optional(Content),
  tools: Type.Optional(Type.Array(Type.Object({ name: Type.Optional(Type.String()) }))),
  output_config: Type.Optional(Type.Object({ effort: Type.Optional(Type.String()) })),
  stream: Type.Optional(Type.Boolean())
})
export type MessagesRequest = Static<typeof MessagesRequest>

export interface ToolResult {
  text: string
  failed: boolean
}

/** What a turn is chosen by: the last prompt, and what has happened since. */
export interface Conversation {
  /** What the user typed last, byte for byte; empty when the request has no prompt. */
  prompt: string
  /** The images of the last prompt: their type and size, such as `image/png, 68 bytes`. */
  images: string[]
  /** 1 for the first prompt of the conversation. */
  promptNumber: number
  /** Results of the tools called since the last prompt, in order. */
  results: ToolResult[]
  /** Absolute path; undefined when the client does not name it. */
  workdir: string | undefined
  /** Where the client wants a plan to be written, while it is in plan mode. */
  plan: { file: string, exists: boolean } | undefined
  /** Names of the tools the client offers. */
  tools: string[]
}

/**
 * Reads a conversation the way Claude Code 2.1 writes it: `system` messages stand between the others; reminders
 * and interruption notes are texts of the user role; prompts of runs that failed before an answer are merged into
 * the next user message as separate texts. So every text of the user role that the CLI did not write itself is a
 * prompt, and the last one counts.
 */
export function readConversation (request: MessagesRequest): Conversation {
  const messages = request.messages.filter(({ role }) => role === 'user').map(({ content }) => withCaption(blocksOf(content)))
  const blocks = messages.flat()
  const prompts = blocks.flatMap((block, at) => {
    const text = typedText(block)
    return text === undefined ? [] : [{ text, at }]
  })
  const last = prompts.at(-1)
  const withLast = messages.findLast((message) => message.includes(blocks[last?.at ?? -1]!)) ?? []
  return {
    prompt: last?.text ?? '',
    images: withLast.filter(({ type }) => type === 'image').map(describeImage),
    promptNumber: Math.max(1, prompts.length),
    results: blocks.slice((last?.at ?? -1) + 1).filter(({ type }) => type === 'tool_result').map(readResult),
    workdir: lastNamed(request, /working directory: (\/.*)$/gim)?.[1]?.trim(),
    plan: planOf(request),
    tools: (request.tools ?? []).flatMap(({ name }) => name ?? [])
  }
}

/** Images without a word are a prompt, too. */
function withCaption (blocks: Block[]): Block[] {
  const hasOnlyImages = blocks.some(({ type }) => type === 'image') && blocks.every((block) => typedText(block) === undefined)
  return hasOnlyImages ? [...blocks, { type: 'text', text: '[image]' }] : blocks
}

function describeImage ({ source }: Block): string {
  return `${source?.media_type}, ${Buffer.from(source?.data ?? '', 'base64').length} bytes`
}

const reminders = /^(\s*<system-reminder>[\s\S]*?<\/system-reminder>\n?)+/
/** What else 2.1.330 writes in the user's name: output of commands, interruptions, places of images, continuations. */
const writtenByCli = new RegExp('^\\s*(' + [
  '<local-command-',
  '<command-',
  '\\[Request interrupted by user',
  '\\[Image: ',
  'Your response above was cut off mid-stream',
  'Output token limit hit\\. Resume directly'
].join('|') + ')')

/** The part of a text block that the user typed; undefined when the CLI wrote all of it. */
function typedText ({ type, text }: Block) {
  if (type !== 'text' || text === undefined || writtenByCli.test(text)) return
  const typed = text.replace(reminders, '')
  return typed.trim() === '' ? undefined : typed
}

function readResult ({ content, is_error: failed = false }: Block): ToolResult {
  return { text: textOf(content), failed }
}

function textOf (content: unknown): string {
  if (typeof content === 'string') return content
  return Array.isArray(content) ? content.map((block: Partial<Block>) => block.text ?? '').join('\n') : ''
}

function blocksOf (content: Static<typeof Content>): Block[] {
  return typeof content === 'string' ? [{ type: 'text', text: content }] : content
}

/** The CLI names the file when it enters plan mode, and again when it has left it. */
function planOf (request: MessagesRequest): Conversation['plan'] {
  const [, where, file] = lastNamed(request, /(create your plan|plan file already exists|plan file is located) at (\S+?\.md)\b/g) ?? []
  return file === undefined || where === 'plan file is located' ? undefined : { file, exists: where !== 'create your plan' }
}

/** What the CLI says in its system texts; what it says last is what counts now. */
function lastNamed (request: MessagesRequest, pattern: RegExp): RegExpExecArray | undefined {
  const texts = [request.system, ...request.messages.filter(({ role }) => role === 'system').map((m) => m.content)]
  return texts.flatMap((text) => [...textOf(text).matchAll(pattern)]).at(-1)
}
