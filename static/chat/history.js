import { getJson, paths } from '../lib/api.js'
import { picturesIn } from '../lib/pictures.js'
import { loadRenderer } from '../markdown/renderer.js'

const pageSize = 200
/** Messages rendered before the browser may paint. */
const batchSize = 20
/** How far the sandbox's clock may be behind the service's. */
const maxClockSkewMs = 5000
const tokenKinds = ['input_tokens', 'cache_creation_input_tokens', 'cache_read_input_tokens', 'output_tokens']

/** The conversations on the sandbox's volume, newest first. */
export async function listSessions (sandboxId) {
  const { sessions } = await getJson(paths.sessions(sandboxId))
  return sessions
}

/** Every message of a conversation, oldest first. What shows them is loaded at the same time. */
export async function readMessages (sandboxId, sessionId, signal) {
  const messages = []
  const loading = loadRenderer()
  let after
  do {
    const fields = { limit: String(pageSize), ...(after && { after }) }
    const page = await getJson(paths.messages(sandboxId, sessionId, fields), { signal })
    messages.push(...page.messages)
    after = page.next
  } while (after)
  await loading
  return messages
}

/**
 * The runs of this sandbox, newest first. If that fails, only the active one, if it is known: a conversation can be
 * shown without the others.
 */
export async function listRuns (sandboxId, activeRun) {
  const { runs } = await getJson(paths.claude(sandboxId)).catch(() => ({ runs: [] }))
  if (activeRun === undefined || runs.some(({ runId }) => runId === activeRun.runId)) return runs
  return [await getJson(paths.run(sandboxId, activeRun.runId)), ...runs]
}

/**
 * @typedef {{text: string, pictures: {data: string}[]}} Prompt
 *
 * Renders messages as turns, without blocking the page.
 * @param {object[]} runs newest first; a turn's duration and cost are those of its run
 * @param {(prompt?: Prompt) => import('./turn.js').Turn} newTurn puts an empty turn on the page
 */
export async function showMessages (messages, runs, newTurn) {
  const unused = new Set(runs)
  let turn
  let turnMessages = []
  const endTurn = () => {
    if (turn === undefined) return
    turn.end()
    const run = runOf(turnMessages[0], unused)
    unused.delete(run)
    turn.showFooter(run?.completion ?? figuresOf(turnMessages))
  }
  for (const [index, message] of messages.entries()) {
    const prompt = promptOf(message)
    if (prompt !== undefined || turn === undefined) {
      endTurn()
      turnMessages = []
      turn = newTurn(prompt)
    }
    turnMessages.push(message)
    if (prompt === undefined) turn.handle('claude', asEvent(message))
    if (index % batchSize === batchSize - 1) await new Promise((resolve) => setTimeout(resolve))
  }
  endTurn()
}

/** The latest run with the prompt of this message that had started by its time. */
function runOf (message, runs) {
  const prompt = nameOf(message)
  const latestStart = Date.parse(message.time) + maxClockSkewMs
  return [...runs].find((run) => prompt?.startsWith(promptPrefixOf(run)) && Date.parse(run.startedAt) <= latestStart)
}

/** The figures of a turn whose run is not known: time between its messages, and token usage from the answers. */
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

/** The messages before those of a run that is followed, as its stream replays its own. */
export function withoutRun (messages, run) {
  if (run === undefined) return messages
  const { startedAt } = run
  const first = promptPrefixOf(run)
  const byPrompt = first
    ? messages.findLastIndex((message) => nameOf(message)?.startsWith(first))
    : messages.findIndex((message) => promptOf(message) !== undefined && message.time >= startedAt)
  return byPrompt === -1 ? messages : messages.slice(0, byPrompt)
}

/** The service returns only the beginning of a run's prompt. */
function promptPrefixOf ({ prompt }) {
  return prompt?.trim().slice(0, 150)
}

/** The beginning of its prompt, as the service gives it for the run. */
function nameOf (message) {
  const prompt = promptOf(message)
  return prompt && (prompt.text.trim() || '[image]')
}

/** The user's prompt; undefined for tool results and for messages that the CLI itself adds. */
export function promptOf ({ type, message, parentToolUseId } = {}) {
  if (type !== 'user' || parentToolUseId) return
  const blocks = blocksOf(message.content)
  if (blocks.some((block) => block.type === 'tool_result')) return
  const text = blocks.filter((block) => block.type === 'text').map((block) => block.text).join('\n')
  const pictures = picturesIn(blocks)
  const command = commandOf(text)
  if (command !== undefined) return { text: command, pictures }
  if (text.trim() === '' && pictures.length === 0) return
  if (/^\s*(\[Request interrupted|<(local-command|system-reminder))/.test(text)) return
  return { text: text.replace(/^\n/, ''), pictures }
}

function blocksOf (content) {
  if (typeof content === 'string') return [{ type: 'text', text: content }]
  return Array.isArray(content) ? content.filter((block) => block !== null) : []
}

/** A command of the CLI's as it was typed. */
function commandOf (text) {
  const [, command] = /^\s*(?:<command-message>[^<]*<\/command-message>\s*)?<command-name>([^<]*)</.exec(text) ?? []
  const [, parameters = ''] = /<command-args>([^]*)<\/command-args>/.exec(text) ?? []
  return command === undefined ? undefined : `${command} ${parameters}`.trim()
}

/** A stored message as the event that the CLI streams for it. */
function asEvent ({ id, type, time, message, parentToolUseId }) {
  const [, answer] = type === 'system' ? /^<local-command-stdout>([^]*)<\/local-command-stdout>/.exec(message.content) ?? [] : []
  if (answer) return { type: 'assistant', message: { model: '<synthetic>', content: [{ type: 'text', text: answer }] }, timestamp: time }
  const { subtype } = message
  return { type, uuid: id, subtype, message, timestamp: time, parent_tool_use_id: parentToolUseId ?? null }
}
