import { followingColumn } from './scroll.js'
import { listRuns, listSessions, readMessages, showMessages, withoutRun } from './history.js'
import { Turn } from './turn.js'
import { asApiError, getJson, paths } from '../lib/api.js'
import { h } from '../lib/dom.js'
import { uuid } from '../lib/ids.js'
import { notice } from '../views/notice.js'

/** The turns of one conversation: those that the volume keeps, and those of this page. */
export class Conversation {
  #turns = h('div', { class: 'turns' })
  #options
  #sandboxId
  #loading
  sessionId = uuid()
  title
  /** When the latest run of this conversation began. */
  lastStart

  constructor ({ sandboxId, workdir, scripted, welcome }) {
    this.#sandboxId = sandboxId
    this.#options = { scripted, sandboxId, workdir }
    this.welcome = welcome
    this.column = followingColumn(this.#turns)
  }

  /** An empty one. */
  begin () {
    this.#show({ sessionId: uuid(), title: undefined })
    this.#turns.append(this.welcome)
  }

  /**
   * Shows what is kept: the given conversation, the one of the active run, or the latest of the volume.
   * @returns the active run, when the conversation is its
   */
  async open ({ session, activeRun } = {}) {
    const loading = this.#show(session ?? { sessionId: uuid() })
    const note = h('p', { class: 'loading' }, h('span', { class: 'spinner' }), 'Reading the conversation…')
    this.#turns.append(note)
    try {
      const [run, runs, sessions] = await Promise.all([
        activeRun ? getJson(paths.run(this.#sandboxId, activeRun.runId)) : undefined,
        listRuns(this.#sandboxId),
        session ? [session] : listSessions(this.#sandboxId)
      ])
      const kept = run ? sessions.find(({ sessionId }) => sessionId === run.sessionId) : sessions[0]
      if (loading.signal.aborted) return
      if (run?.sessionId) this.sessionId = run.sessionId
      const messages = kept ? await readMessages(this.#sandboxId, kept.sessionId, loading.signal) : []
      if (kept) Object.assign(this, { sessionId: kept.sessionId, title: kept.title })
      note.remove()
      this.lastStart = runs.find(({ sessionId }) => sessionId === this.sessionId)?.startedAt
      const known = runs.filter(({ sessionId, completion }) => completion && sessionId === this.sessionId)
      await showMessages(withoutRun(messages, run), { ...this.#options, runs: known }, (turn) => this.#append(turn))
      if (messages.length === 0 && !run) this.#turns.append(this.welcome)
      return run
    } catch (error) {
      if (loading.signal.aborted) return
      note.remove()
      this.#turns.append(notice(asApiError(error)))
      return activeRun
    } finally {
      this.column.follow()
    }
  }

  /** A turn for a run that starts, or that is shown from its beginning. */
  add (prompt) {
    const turn = new Turn({ ...this.#options, prompt })
    this.welcome.remove()
    this.title ??= prompt?.trim().split('\n')[0].slice(0, 80)
    this.#append(turn)
    this.column.follow()
    return turn
  }

  complain (error) {
    this.#turns.append(notice(error))
    this.column.follow()
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
    Object.assign(this, { sessionId, title, lastStart: undefined })
    this.#turns.replaceChildren()
    return this.#loading
  }

  #append (turn) {
    this.#turns.append(turn.element)
  }
}
