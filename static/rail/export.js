import { promptOf, readMessages } from '../chat/history.js'
import { h } from '../lib/dom.js'
import { stripAnsi } from '../lib/format.js'
import { words } from '../lib/words.js'
import { placeOf } from './row.js'

const types = { md: 'text/markdown', json: 'application/json' }

/**
 * Saves a whole conversation as a file.
 * @param {import('./known.js').Conversation} conversation @param {'md' | 'json'} format
 * @throws ApiError
 */
export async function exportConversation (conversation, format) {
  const { sandbox, sessionId } = conversation
  const messages = await readMessages(sandbox.id, sessionId, undefined)
  const text = format === 'json' ? asJson(conversation, messages) : asMarkdown(conversation, messages)
  const url = URL.createObjectURL(new window.Blob([text], { type: `${types[format]};charset=utf-8` }))
  h('a', { href: url, download: `${fileName(conversation.title)}.${format}` }).click()
  // The browser has begun to save it by then.
  setTimeout(() => URL.revokeObjectURL(url), 60_000)
}

/** The messages as the service has them, with what says which conversation it is. */
export function asJson (conversation, messages) {
  const { sessionId, title, updatedAt } = conversation
  const about = { sessionId, title, workspace: placeOf(conversation), updatedAt, exportedAt: new Date().toISOString() }
  return `${JSON.stringify({ ...about, messages }, undefined, 2)}\n`
}

/** For people: prompts and answers, and what Claude's tools were asked and have said. */
export function asMarkdown (conversation, messages) {
  const parts = [`# ${conversation.title || words.common.untitled}`, `${placeOf(conversation)}, ${conversation.updatedAt}`]
  let speaker
  const say = (who, text) => {
    if (speaker !== who) parts.push(`## ${who}`)
    speaker = who
    parts.push(text)
  }
  for (const message of messages) {
    const prompt = promptOf(message)
    if (prompt !== undefined) {
      // Each prompt begins a turn, also one after another without an answer.
      speaker = undefined
      say(words.rail.you, [prompt.text, picturesNote(prompt.pictures)].filter(Boolean).join('\n\n'))
      continue
    }
    for (const text of blocksOf(message).map(textOf)) if (text) say(message.parentToolUseId ? words.rail.subagent : 'Claude', text)
  }
  return `${parts.join('\n\n')}\n`
}

function picturesNote (pictures) {
  return pictures.length > 0 && `*${words.rail.pictures(pictures.length)}*`
}

function blocksOf ({ message: { content } }) {
  if (typeof content === 'string') return [{ type: 'text', text: content }]
  return Array.isArray(content) ? content.filter((block) => block !== null) : []
}

function textOf (block) {
  if (block.type === 'text') return block.text
  if (block.type === 'thinking') return block.thinking.split('\n').map((line) => `> ${line}`).join('\n')
  if (block.type === 'tool_use') return `**${block.name}**\n\n${inputOf(block.input)}`
  if (block.type === 'tool_result') return `${block.is_error ? `*${words.rail.error}*\n\n` : ''}${fenced(resultOf(block.content))}`
  return ''
}

function inputOf (input = {}) {
  return typeof input.command === 'string' ? fenced(input.command, 'sh') : fenced(JSON.stringify(input, undefined, 2), 'json')
}

function resultOf (content) {
  if (typeof content === 'string') return content
  return (content ?? []).map((block) => block.type === 'text' ? block.text : `[${block.type}]`).join('\n')
}

/** Longer than any fence in the text. */
function fenced (text, language = '') {
  const longest = Math.max(2, ...[...text.matchAll(/`+/g)].map(([ticks]) => ticks.length))
  const fence = '`'.repeat(longest + 1)
  return `${fence}${language}\n${stripAnsi(text).replace(/\n$/, '')}\n${fence}`
}

/** A name that every file system takes. */
function fileName (title) {
  return title.normalize('NFKC').replace(/[^\p{L}\p{N}]+/gu, '-').replace(/^-+|-+$/g, '').slice(0, 60) || words.rail.fileName
}
