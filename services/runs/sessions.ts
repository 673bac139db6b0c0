import { AppError, wrap } from '../../errors.js'
import { randomId } from '../../lib/ids.js'
import { jsonLength } from '../../lib/json.js'
import type { DeletedSession, SessionMessage, SessionName, SessionPage, SessionSummary } from '../../schemas/session.js'
import { exitLocked, stateDirectory } from '../modal/lock.js'
import { runCommand } from '../modal/process.js'
import { loadScript } from '../modal/script.js'
import type { OwnedSandbox } from '../sandboxes/owned.js'
import { LineSplitter } from './log-parser.js'
import { homeOf, library, lock, runIdPattern } from './run-directory.js'

const listScript = loadScript(import.meta.url, 'list-sessions.sh')
const readScript = loadScript(import.meta.url, 'read-session.sh')
const renameScript = loadScript(import.meta.url, 'rename-session.sh')
const deleteScript = library + loadScript(import.meta.url, 'delete-session.sh')
const sessionIdPattern = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/
const exitNoSession = 66
const listed = 100
const chunkBytes = 1024 * 1024
/** One answer has no more than this, */
const answerBytes = 8 * 1024 * 1024
/** and no more of the transcript is read for it. */
const lookedAtBytes = 64 * 1024 * 1024

export interface SessionServiceOptions {
  /** Takes out of a text what must not be seen. */
  redact: (text: string) => string
  /** Changes when a sandbox's conversations may have changed; undefined while a run is active, which changes them. */
  version: (owned: OwnedSandbox) => Promise<string | undefined>
  /** The active run of a conversation, or one that may be about it, also in another sandbox on the volume. */
  activeRun: (owned: OwnedSandbox, sessionId: string) => Promise<string | undefined>
  /** A conversation was renamed, or deleted with its runs: every replica is to look again. */
  onChanged: (owned: OwnedSandbox) => Promise<void>
}

/** Conversations, from the transcripts that the CLI keeps next to the runs: on the volume, where there is one. */
export class SessionService {
  readonly #options: SessionServiceOptions
  /** By sandbox. Asking would keep a sandbox awake, and only a run changes its conversations. */
  readonly #lists = new Map<string, { version: string, sessions: SessionSummary[] }>()

  constructor (options: SessionServiceOptions) {
    this.#options = options
  }

  /** Newest first. @throws {AppError} SANDBOX_ENDED. */
  async list (owned: OwnedSandbox): Promise<SessionSummary[]> {
    const version = await this.#options.version(owned)
    const known = this.#lists.get(owned.id)
    if (known !== undefined && known.version === version) return known.sessions
    const command = ['sh', '-c', listScript, 'list-sessions', homeOf(owned), String(listed)]
    const { stdout } = await runCommand(owned.sandbox, 'list sessions', command, { limit: listed * 10_000 })
    const lines = stdout.toString('utf8').split('\n')
    const sessions: SessionSummary[] = []
    for (let at = 0; at + 3 < lines.length; at += 4) {
      const session = this.#summary(lines[at]!, lines[at + 1]!, lines[at + 2]!, lines[at + 3]!)
      if (session !== undefined) sessions.push(session)
    }
    sessions.sort((one, other) => one.updatedAt < other.updatedAt ? 1 : -1)
    if (version !== undefined) this.#keep(owned.id, version, sessions)
    return sessions
  }

  /**
   * Messages after a cursor, oldest first.
   * @throws {AppError} SESSION_NOT_FOUND, SANDBOX_ENDED.
   */
  async messages (owned: OwnedSandbox, sessionId: string, after: number, limit: number): Promise<SessionPage> {
    if (!sessionIdPattern.test(sessionId)) throw new AppError('SESSION_NOT_FOUND')
    const splitter = new LineSplitter(after)
    const messages: SessionMessage[] = []
    let bytes = 0
    let last = after
    for (let position = after; position - after < lookedAtBytes;) {
      const command = ['sh', '-c', readScript, 'read-session', homeOf(owned), sessionId, String(position), String(chunkBytes)]
      const { exitCode, stdout } = await runCommand(owned.sandbox, 'read session', command, { limit: chunkBytes })
      if (exitCode === exitNoSession) throw new AppError('SESSION_NOT_FOUND')
      for (const { line, end } of splitter.push(stdout)) {
        last = end
        const message = readMessage(this.#options.redact(line.toString('utf8')))
        if (message === undefined) continue
        messages.push(message)
        bytes += line.length
        if (messages.length === limit || bytes > answerBytes) return { sessionId, messages, next: String(end) }
      }
      position += stdout.length
      if (stdout.length < chunkBytes) return { sessionId, messages, next: null }
    }
    return { sessionId, messages, next: String(last) }
  }

  /**
   * Gives a conversation a name, which lies beside it. @param title null: the beginning of its first prompt.
   * @throws {AppError} SESSION_NOT_FOUND, SANDBOX_ENDED.
   */
  async rename (owned: OwnedSandbox, sessionId: string, title: string | null): Promise<SessionName> {
    if (!sessionIdPattern.test(sessionId)) throw new AppError('SESSION_NOT_FOUND')
    const command = ['sh', '-c', renameScript, 'rename-session', homeOf(owned), sessionId]
    const stdin = title?.trim() ?? ''
    const { exitCode, stderr } = await runCommand(owned.sandbox, 'rename session', command, { stdin })
    if (exitCode === exitNoSession) throw new AppError('SESSION_NOT_FOUND')
    if (exitCode !== 0) throw wrap(new Error(`exit code ${exitCode}: ${stderr}`), 'rename session', 'COMMAND_FAILED')
    await this.#options.onChanged(owned)
    return { sessionId, title: title?.trim() ?? null }
  }

  /**
   * Deletes a conversation's transcript, what else the CLI keeps of it, its name, and the logs of its runs.
   * @throws {AppError} RUN_ACTIVE with the id of a run of it that is going on, SESSION_NOT_FOUND, SANDBOX_ENDED.
   */
  async delete (owned: OwnedSandbox, sessionId: string): Promise<DeletedSession> {
    if (!sessionIdPattern.test(sessionId)) throw new AppError('SESSION_NOT_FOUND')
    const active = await this.#options.activeRun(owned, sessionId)
    if (active !== undefined) throw runActive(active)
    const parameters = [stateDirectory, lock, homeOf(owned), sessionId, randomId('delete')]
    const command = ['sh', '-c', deleteScript, 'delete-session', ...parameters]
    const { exitCode, stdout, stderr } = await runCommand(owned.sandbox, 'delete session', command)
    const runs = stdout.toString('utf8').split('\n').filter((line) => runIdPattern.test(line))
    if (exitCode === exitNoSession) throw new AppError('SESSION_NOT_FOUND')
    if (exitCode === exitLocked) throw runActive(runs[0])
    if (exitCode !== 0) throw wrap(new Error(`exit code ${exitCode}: ${stderr}`), 'delete session', 'COMMAND_FAILED')
    await this.#options.onChanged(owned)
    return { sessionId, runs }
  }

  #summary (head: string, first: string, time: string, name: string): SessionSummary | undefined {
    const [, sessionId, updated, messages] = /^(\S+) (\d{1,12}) (\d{1,9})$/.exec(head) ?? []
    if (sessionId === undefined || !sessionIdPattern.test(sessionId)) return
    const updatedAt = new Date(Number(updated) * 1000).toISOString()
    const startedAt = /^"timestamp":"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,9})?Z)"$/.exec(time)?.[1] ?? updatedAt
    const title = this.#options.redact(name || titleOf(first))
    return { sessionId, title, startedAt, updatedAt, messages: Number(messages) }
  }

  #keep (id: string, version: string, sessions: SessionSummary[]) {
    this.#lists.delete(id)
    this.#lists.set(id, { version, sessions })
    if (this.#lists.size > 500) this.#lists.delete(this.#lists.keys().next().value!)
  }
}

function runActive (runId: string | undefined): AppError {
  return new AppError('RUN_ACTIVE', { message: 'Claude is working in this conversation.', details: { runId: runId ?? null } })
}

function withoutFirstBreak (content: unknown): unknown {
  if (typeof content === 'string') return content.replace(/^\n/, '')
  if (!Array.isArray(content)) return content
  return content.map((block) => typeof block?.text === 'string' ? { ...block, text: withoutFirstBreak(block.text) } : block)
}

/** The first words of the first prompt; its line may be cut, even before them if it begins with an image. */
function titleOf (line: string): string {
  const text = /"(?:content|text)":"((?:[^"\\]|\\.){0,400})/.exec(line)?.[1] ?? (line.includes('"type":"image"') ? '[image]' : '')
  try {
    const words = asTyped(JSON.parse(`"${text}"`) as string).replace(/\s+/g, ' ').trim()
    return [...words].slice(0, 100).join('')
  } catch {
    return ''
  }
}

/** A prompt that was a command, as the CLI stores it, in the words of the user. */
function asTyped (prompt: string): string {
  const [, command] = /^\s*(?:<command-message>[^<]*<\/command-message>\s*)?<command-name>([^<]*)</.exec(prompt) ?? []
  if (command === undefined) return prompt
  const [, parameters = ''] = /<command-args>([^]*)<\/command-args>/.exec(prompt) ?? []
  return `${command} ${parameters}`.trim()
}

/** A line of a transcript that is part of the conversation. Anything in the sandbox can write one. */
function readMessage (line: string): SessionMessage | undefined {
  let entry: any
  try {
    entry = JSON.parse(line)
  } catch {
    return
  }
  if (typeof entry?.uuid !== 'string' || typeof entry.timestamp !== 'string' || entry.isMeta === true || entry.isCompactSummary === true) return
  const { uuid: id, timestamp: time, type } = entry
  const parentToolUseId = typeof entry.parentToolUseID === 'string' ? entry.parentToolUseID : null
  if (type === 'system' && typeof entry.content === 'string') {
    // Where it was compacted: what was in the context before is no longer there.
    const subtype = entry.subtype === 'compact_boundary' && { subtype: entry.subtype }
    return { id, type, time, message: { role: 'system', content: entry.content, ...subtype }, parentToolUseId }
  }
  if (!['user', 'assistant'].includes(type) || typeof entry.message !== 'object' || entry.message === null) return
  const { message } = entry
  // Our prompts begin with a line break that the user did not write.
  if (type === 'user') message.content = withoutFirstBreak(message.content)
  if (jsonLength(message) === Infinity) return
  return { id, type, time, message, parentToolUseId }
}
