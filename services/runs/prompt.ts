import { AppError } from '../../errors.js'
import type { ImagePart, Prompt, PromptPart } from '../../schemas/run.js'

const maxImages = 10
const maxTextBytes = 1_048_576
/** How much base64 has the bytes by which each type is recognized. */
const headLength = 24
const signatures: [ImagePart['mediaType'], RegExp][] = [
  ['image/png', /^\x89PNG\r\n/],
  ['image/jpeg', /^\xff\xd8\xff/],
  ['image/gif', /^GIF8[79]a/],
  ['image/webp', /^RIFF[^]{4}WEBP/]
]

/** Checks what a schema cannot. @throws {AppError} BAD_REQUEST, PAYLOAD_TOO_LARGE; the message names the field. */
export function checkPrompt (prompt: Prompt): void {
  if (typeof prompt === 'string') return checkText([prompt])
  const images = prompt.flatMap((part, index) => part.type === 'image' ? [{ part, at: `body.prompt.${index}` }] : [])
  const texts = prompt.flatMap((part) => part.type === 'text' ? [part.text] : [])
  if (images.length > maxImages) throw badRequest(`body.prompt has ${images.length} images; at most ${maxImages} are allowed.`)
  for (const { part, at } of images) checkImage(part, at)
  if (texts.length > 0) checkText(texts)
}

function checkText (texts: string[]) {
  if (texts.reduce((sum, text) => sum + Buffer.byteLength(text), 0) > maxTextBytes) {
    throw new AppError('PAYLOAD_TOO_LARGE', { message: 'The text of body.prompt is larger than 1 MB.' })
  }
  if (texts.some((text) => text.trim() === '')) throw badRequest('body.prompt is blank.')
  if (texts.some((text) => text.includes('\0'))) throw badRequest('body.prompt has a NUL character.')
}

function checkImage ({ mediaType, data }: ImagePart, at: string) {
  if (data.length % 4 !== 0) throw badRequest(`${at}.data is not complete base64.`)
  const head = Buffer.from(data.slice(0, headLength), 'base64').toString('latin1')
  const [found] = signatures.find(([, signature]) => signature.test(head)) ?? []
  if (found === mediaType) return
  throw badRequest(`${at}.mediaType is ${mediaType}, but the data is ${found ?? 'no PNG, JPEG, GIF or WebP image'}.`)
}

/** The text of a prompt, as a person would read it. */
export function textOf (prompt: Prompt): string {
  if (typeof prompt === 'string') return prompt
  const texts = prompt.flatMap((part) => part.type === 'text' ? [part.text] : [])
  return texts.length > 0 ? texts.join('\n') : '[image]'
}

/** The content of the CLI's message with this prompt. @param literal makes of a text what the CLI takes literally. */
export function contentOf (prompt: Prompt, literal: (text: string) => string): string | object[] {
  return typeof prompt === 'string' ? literal(prompt) : prompt.map((part) => blockOf(part, literal))
}

function blockOf (part: PromptPart, literal: (text: string) => string): object {
  if (part.type === 'text') return { type: 'text', text: literal(part.text) }
  return { type: 'image', source: { type: 'base64', media_type: part.mediaType, data: part.data } }
}

function badRequest (message: string): AppError {
  return new AppError('BAD_REQUEST', { message })
}
