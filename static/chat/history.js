import { getJson, paths } from '../lib/api.js'
import { Turn } from './turn.js'

const pageSize = 200
/** Messages shown between two frames. */
const batch = 20

/** The conversations on the sandbox' volume, newest first. */
export async function listSessions (sandboxId) {
  const { sessions } = await getJson(paths.sessions(sandboxId))
  return sessions
}

/** Every message of a conversation, oldest first. */
export async function readMessages (sandboxId, sessionId, signal) {
  const messages = []
  let after
  do {
    const fields = { limit: String(pageSize), ...(after && { after }) }
    const page = await getJson(paths.messages(sandboxId, sessionId, fields), { signal })
    messages.push(...page.messages)
    after = page.next
  } while (after)
  return messages
}

/**
 * Shows messages as the turns they were, without holding up the page.
 * @param {(turn: Turn) => void} onTurn each turn, empty at first
 */
export async function showMessages (messages, turnOptions, onTurn) {
  let turn
  for (const [index, message] of messages.entries()) {
    const prompt = promptOf(message)
    if (prompt !== undefined || turn === undefined) {
      turn?.end()
      turn = new Turn({ ...turnOptions, prompt })
      onTurn(turn)
    }
    if (prompt === undefined) turn.handle('claude', asEvent(message))
    if (index % batch === batch - 1) await new Promise((resolve) => setTimeout(resolve))
  }
  turn?.end()
}

/** Where the messages of a run that is shown live begin: it tells them itself. */
export function withoutRun (messages, { startedAt, prompt } = {}) {
  if (startedAt === undefined) return messages
  const first = prompt?.trim().slice(0, 150)
  const byPrompt = first
    ? messages.findLastIndex((message) => promptOf(message)?.startsWith(first))
    : messages.findIndex((message) => promptOf(message) !== undefined && message.time >= startedAt)
  return byPrompt === -1 ? messages : messages.slice(0, byPrompt)
}

/** What somebody wrote; undefined for tools' results and for what the CLI itself puts into a conversation. */
export function promptOf ({ type, message, parentToolUseId }) {
  if (type !== 'user' || parentToolUseId) return
  const { content } = message
  const text = typeof content === 'string'
    ? content
    : Array.isArray(content) && !content.some((block) => block.type === 'tool_result')
      ? content.filter((block) => block.type === 'text').map((block) => block.text).join('\n')
      : ''
  if (text.trim() === '' || /^\s*(\[Request interrupted|<(local-command|command-name|system-reminder))/.test(text)) return
  return text.replace(/^\n/, '')
}

/** A kept message in the form in which the CLI streams it. */
function asEvent ({ type, time, message, parentToolUseId }) {
  return { type, message, timestamp: time, parent_tool_use_id: parentToolUseId ?? null }
}
