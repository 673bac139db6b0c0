import { followingColumn } from './scroll.js'
import { listRuns, listSessions, promptOf, readMessages, showMessages, withoutRun } from './history.js'
import { asApiError } from '../lib/api.js'
import { h } from '../lib/dom.js'
import { uuid } from '../lib/ids.js'
import { words } from '../lib/words.js'
import { notice } from '../views/notice.js'

const notHere = {
  message: words.chat.notHere,
  hint: words.chat.notHereHint
}

/** The turns of one conversation: those stored on the volume, and those of this page. */
export class Conversation {
  #turns = h('div', { class: 'turns' })
  #options
  #sandboxId
  #onEdit
  #onFork
  #loading
  /** The turns themselves, as `#turns` has their elements. */
  #shown = []
  /** The class, once it is loaded: one can write a prompt before. */
  #Turn
  sessionId = uuid()
  title
  /** Whether it was asked for, and is not there. */
  missing = false
  /** Of its turns, newest first. @type {string[]} */
  prompts = []
  /** The CLI's commands in this workspace, once a run has named them. @type {string[] | undefined} */
  commands
  /** When the latest run of this conversation started, */
  lastRunStart
  /** and its id. */
  latestRun
  /** Its runs that are over, newest first. @type {{runId: string, completion: object}[]} */
  runs = []
  /** What it begins with, until a run of it has said something. @type {{sessionId: string, at: string} | undefined} */
  fork

  /**
   * @param {{onEdit: (prompt: string, pictures: object[]) => void,
   *   onFork: (turn: object, prompt: string, pictures: object[]) => void}} options those that are not obvious
   */
  constructor ({ sandboxId, workdir, scripted, welcome, onEdit, onFork }) {
    this.#onFork = onFork
    this.#onEdit = onEdit
    this.#sandboxId = sandboxId
    this.#options = { scripted, sandboxId, workdir, onAnswered: () => this.column.follow() }
    this.welcome = welcome
    Object.assign(this.#turns.dataset, { sandbox: sandboxId, workdir })
    this.column = followingColumn(this.#turns)
  }

  /** Starts an empty conversation. */
  async startNew () {
    const loading = this.#show({ sessionId: uuid() })
    this.#turns.append(this.welcome)
    const { Turn } = await import('./turn.js')
    if (!loading.signal.aborted) this.#Turn = Turn
  }

  /** Whether there is nothing in it yet. */
  get isEmpty () {
    return this.latestRun === undefined && this.title === undefined
  }

  /**
   * Shows a stored conversation: the given one, that of the active run, or the latest.
   * @returns the active run if it belongs to this conversation, with all of its prompt that is known
   */
  async open ({ sessionId, activeRun } = {}) {
    const loading = this.#show({ sessionId: sessionId ?? uuid() })
    const loadingNote = h('p', { class: 'loading' }, h('span', { class: 'spinner' }), words.chat.loading)
    this.#turns.append(loadingNote)
    try {
      const [{ Turn }, runs, sessions] = await Promise.all([
        import('./turn.js'), listRuns(this.#sandboxId, activeRun), listSessions(this.#sandboxId)
      ])
      this.#Turn = Turn
      if (loading.signal.aborted) return
      const run = runs.find((one) => one.status === 'running' && one.sandboxId === this.#sandboxId &&
        (sessionId === undefined ? one.runId === activeRun?.runId : one.sessionId === sessionId))
      const wanted = sessionId ?? run?.sessionId
      const stored = wanted || run ? sessions.find((one) => one.sessionId === wanted) : sessions[0]
      if (wanted) this.sessionId = wanted
      const messages = stored ? await readMessages(this.#sandboxId, stored.sessionId, loading.signal) : []
      if (stored) Object.assign(this, { sessionId: stored.sessionId, title: stored.title })
      loadingNote.remove()
      const own = runs.filter((one) => one.sessionId === this.sessionId)
      this.lastRunStart = own[0]?.startedAt
      this.latestRun = own[0]?.runId
      const before = withoutRun(messages, run)
      const completed = this.runs = own.filter(({ completion }) => completion)
      await showMessages(before, completed, (prompt) => this.#newTurn(prompt?.text, { pictures: prompt?.pictures }))
      this.missing = sessionId !== undefined && !stored && !run
      if (this.missing) this.#turns.append(notice(notHere))
      if (messages.length === 0 && !run) this.#turns.append(this.welcome)
      const prompt = promptOf(messages[before.length])
      return run && prompt ? { ...run, prompt: prompt.text, pictures: prompt.pictures } : run
    } catch (error) {
      if (loading.signal.aborted) return
      loadingNote.remove()
      this.#turns.append(notice(asApiError(error)))
      return activeRun
    } finally {
      this.column.follow()
    }
  }

  /**
   * Adds a turn for a run that starts, or that is replayed from its beginning.
   * @param {boolean} whole whether this is all of the prompt
   */
  add (prompt, { whole, pictures = [] }) {
    this.welcome.remove()
    this.title ??= prompt?.trim() === '' ? words.chat.picture : prompt?.trim().split('\n')[0].slice(0, 80)
    const turn = this.#newTurn(prompt, { whole, pictures })
    this.column.follow()
    return turn
  }

  /** The next prompt belongs to this conversation, which has another title and other runs if it is another one. */
  goOnIn (sessionId) {
    if (this.sessionId !== sessionId) {
      Object.assign(this, { title: undefined, runs: [] })
      this.#forgetMessages()
    }
    this.sessionId = sessionId
  }

  /** Begins a new conversation with what was said before a turn; the other one stays as it is. */
  forkBefore (turn) {
    const at = this.#shown.indexOf(turn)
    const last = lastMessageOf(this.#shown.slice(0, at))
    this.fork = last && { sessionId: this.fork?.sessionId ?? this.sessionId, at: last }
    for (const { element } of this.#shown.splice(at)) element.remove()
    Object.assign(this, { sessionId: uuid(), title: undefined, runs: [], latestRun: undefined })
  }

  /** The run that was to begin the fork has said nothing: the next one begins it, under another id. */
  retryFork () {
    if (this.fork !== undefined) this.sessionId = uuid()
  }

  /** What was said so far is no longer in Claude's context: nothing can begin there. */
  #forgetMessages () {
    for (const { claude } of this.#shown) claude.lastMessage = undefined
    for (const button of this.#turns.querySelectorAll('.edit-prompt')) button.remove()
  }

  addRun (runId, completion) {
    if (!this.runs.some((run) => run.runId === runId)) this.runs = [{ runId, completion }, ...this.runs]
  }

  /** What is in its context, as its latest answer tells; undefined or null if that is not known. */
  get context () {
    return this.#shown.findLast(({ claude }) => claude.context !== undefined)?.claude.context
  }

  showError (error) {
    this.#turns.append(notice(error))
    this.column.follow()
  }

  /** Whether turns can be added: not if a part of the page could not be loaded. */
  get ready () {
    return this.#Turn !== undefined
  }

  /** What Claude's tools have changed in each turn. */
  get edits () {
    return this.#shown.map(({ claude }) => claude.edits)
  }

  get last () {
    return [...this.#turns.querySelectorAll('.turn')].at(-1)
  }

  close () {
    this.#loading?.abort()
    this.column.close()
  }

  #show ({ sessionId, title }) {
    this.#loading?.abort()
    this.#loading = new AbortController()
    const nothing = { prompts: [], missing: false, lastRunStart: undefined, latestRun: undefined, runs: [] }
    Object.assign(this, { ...nothing, fork: undefined, sessionId, title })
    this.#turns.replaceChildren()
    this.#shown = []
    return this.#loading
  }

  #newTurn (prompt, { whole = true, pictures = [] } = {}) {
    const repeatable = whole && prompt !== undefined
    const onEdit = repeatable ? () => this.#onEdit(prompt, pictures) : undefined
    const { todos } = this.#shown.at(-1)?.claude ?? {}
    const canFork = this.#shown.length === 0 || lastMessageOf(this.#shown) !== undefined
    const onFork = repeatable && canFork ? () => this.#onFork(turn, prompt, pictures) : undefined
    const turn = new this.#Turn({ ...this.#options, prompt, pictures, todos, onEdit, onFork })
    turn.claude.onCompacted = () => this.#forgetMessages()
    turn.claude.onCommands = (commands) => { this.commands = commands }
    if (repeatable && prompt.trim() !== '') this.prompts = [prompt, ...this.prompts.filter((other) => other !== prompt)]
    this.#turns.append(turn.element)
    this.#shown.push(turn)
    return turn
  }
}

/** The id of the latest message in Claude's context that these turns have. */
function lastMessageOf (turns) {
  return turns.findLast(({ claude }) => claude.lastMessage !== undefined)?.claude.lastMessage
}
