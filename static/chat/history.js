import { getJson, paths } from '../lib/api.js'
import { Turn } from './turn.js'

const pageSize = 200
/** Messages shown between two frames. */
const batch = 20
/** Milliseconds that a sandbox' clock may be behind the service's. */
const clockSkew = 5000
const tokenKinds = ['input_tokens', 'cache_creation_input_tokens', 'cache_read_input_tokens', 'output_tokens']

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

/** The runs that this sandbox knows of, newest first; without them a conversation can still be read. */
export async function listRuns (sandboxId) {
  const { runs } = await getJson(paths.claude(sandboxId)).catch(() => ({ runs: [] }))
  return runs
}

/**
 * Shows messages as the turns they were, without holding up the page.
 * @param {object} options of a turn
 * @param {object[]} options.runs newest first; what a turn took is known from its run
 * @param {(turn: Turn) => void} onTurn each turn, empty at first
 */
export async function showMessages (messages, { runs, ...options }, onTurn) {
  const unused = new Set(runs)
  let turn
  let said = []
  const end = () => {
    if (turn === undefined) return
    turn.end()
    const run = runOf(said[0], unused)
    unused.delete(run)
    turn.recall(run?.completion ?? figuresOf(said))
  }
  for (const [index, message] of messages.entries()) {
    const prompt = promptOf(message)
    if (prompt !== undefined || turn === undefined) {
      end()
      said = []
      turn = new Turn({ ...options, prompt })
      onTurn(turn)
    }
    said.push(message)
    if (prompt === undefined) turn.handle('claude', asEvent(message))
    if (index % batch === batch - 1) await new Promise((resolve) => setTimeout(resolve))
  }
  end()
}

/** The latest run with this prompt that had started by then. */
function runOf (message, runs) {
  const prompt = promptOf(message)
  const by = Date.parse(message.time) + clockSkew
  return [...runs].find((run) => prompt?.startsWith(beginningOf(run)) && Date.parse(run.startedAt) <= by)
}

/** Where no run is known: the time from first to last, and the tokens that the model's answers say they took. */
function figuresOf (messages) {
  const answers = messages.map(({ message }) => message).filter(({ usage }) => usage)
  const usages = new Map(answers.map(({ id, usage }) => [id, usage]))
  const sum = (field) => [...usages.values()].reduce((total, usage) => total + (Number(usage[field]) || 0), 0)
  const durationMs = Date.parse(messages.at(-1).time) - Date.parse(messages[0].time)
  return {
    ...(durationMs > 0 && { durationMs }),
    ...(usages.size > 0 && { usage: Object.fromEntries(tokenKinds.map((kind) => [kind, sum(kind)])) })
  }
}

/** Where the messages of a run that is shown live begin: it tells them itself. */
export function withoutRun (messages, run) {
  if (run === undefined) return messages
  const { startedAt } = run
  const first = beginningOf(run)
  const byPrompt = first
    ? messages.findLastIndex((message) => promptOf(message)?.startsWith(first))
    : messages.findIndex((message) => promptOf(message) !== undefined && message.time >= startedAt)
  return byPrompt === -1 ? messages : messages.slice(0, byPrompt)
}

/** Of its prompt the service tells the beginning only. */
function beginningOf ({ prompt }) {
  return prompt?.trim().slice(0, 150)
}

/** What somebody wrote; undefined for tools' results and for what the CLI itself puts into a conversation. */
function promptOf ({ type, message, parentToolUseId }) {
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
