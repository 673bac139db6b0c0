import { Activity } from '../chat/activity.js'
import { Composer } from '../chat/composer.js'
import { followingColumn } from '../chat/scroll.js'
import { SessionBar } from '../chat/session-bar.js'
import { Turn } from '../chat/turn.js'
import { ApiError, getJson, paths, send } from '../lib/api.js'
import { announce, ask, h } from '../lib/dom.js'
import { followRun } from '../lib/run-stream.js'
import { endedNotice, welcome } from './chat-parts.js'
import { button, notice } from './notice.js'

/** How often a quiet sandbox is asked whether it is still there. */
const checkEvery = 30_000

/** The conversation with Claude in one sandbox. It is kept when the reader looks at something else (7.10). */
export class ChatView {
  #turns = h('div', { class: 'turns' })
  #sessionId
  /** The run being followed: `{runId, turn, following}`. */
  #run
  #ended = false

  constructor (sandbox, { scripted, newSandbox }) {
    this.sandbox = sandbox
    this.scripted = scripted
    this.newSandbox = newSandbox
    this.bar = new SessionBar(sandbox, { onEnd: () => this.#endSession(), onExpired: () => this.#check() })
    this.composer = new Composer({ onSend: (prompt) => this.#start(prompt), onStop: () => this.#stop() })
    this.activity = new Activity({ onStop: () => this.#stop() })
    this.welcome = welcome((prompt) => this.#start(prompt))
    this.#turns.append(this.welcome)
    this.column = followingColumn(this.#turns)
    this.dock = h('div', { class: 'dock' }, this.activity.element, this.composer.element,
      h('p', { class: 'hint' }, 'Enter sends, Shift+Enter starts a new line, Esc stops.'))
    this.element = h('section', { class: 'chat', 'aria-label': 'Chat' }, this.bar.element, this.column.element, this.dock)
    this.onKey = (event) => this.#key(event)
    this.onVisible = () => { if (document.visibilityState === 'visible') this.#check() }
    if (sandbox.activeRun) this.#follow({ runId: sandbox.activeRun.runId })
  }

  /** The view is on the page. */
  shown () {
    document.addEventListener('keydown', this.onKey)
    document.addEventListener('visibilitychange', this.onVisible)
    this.timer = setInterval(() => this.#check(), checkEvery)
    this.composer.focus()
  }

  /** Something else is on the page; a run goes on and is followed. */
  hidden () {
    document.removeEventListener('keydown', this.onKey)
    document.removeEventListener('visibilitychange', this.onVisible)
    clearInterval(this.timer)
  }

  /** For good. */
  close () {
    this.#run?.following.abort()
    this.activity.end()
    this.bar.close()
    this.column.close()
  }

  #key (event) {
    if (event.key !== 'Escape' || event.isComposing || document.querySelector('dialog[open]')) return
    if (this.#run) this.#stop()
  }

  #start (prompt) {
    if (this.#run || this.#ended) return
    this.#follow({ prompt, request: { prompt, ...(this.#sessionId !== undefined && { sessionId: this.#sessionId }) } })
  }

  /** A new run, or one that is active already. */
  async #follow ({ prompt, request, runId }) {
    const turn = new Turn({ prompt, scripted: this.scripted, onActivity: (activity) => this.#show(activity) })
    const run = this.#run = { runId, turn, following: new AbortController() }
    this.welcome.remove()
    this.#turns.append(turn.element)
    this.column.follow()
    this.composer.setBusy(true)
    this.activity.start()
    announce('Claude is working')
    try {
      const completed = await followRun({
        sandboxId: this.sandbox.id,
        request,
        runId,
        signal: run.following.signal,
        onEvent: (event, data) => this.#handle(run, event, data),
        onConnection: (state) => this.activity.setConnection(state)
      })
      if (completed) announce(completed.isError ? 'The run failed' : 'Claude has finished')
      if (completed?.outcome === 'sandbox_lost') this.#showEnded('The sandbox has ended.')
    } catch (error) {
      this.#failed(error, turn, prompt)
    } finally {
      turn.end()
      this.#run = undefined
      this.activity.end()
      this.composer.setBusy(false)
      if (this.element.isConnected) this.composer.focus()
    }
  }

  #handle (run, event, data) {
    if (event === 'run.started') {
      run.runId = data.runId
      this.#show('Thinking')
      if (run.stopping) this.#cancel(run)
    } else if (event === 'sandbox.expiring') this.bar.setExpiry(data.expiresAt)
    if (data?.sessionId) this.#sessionId = data.sessionId
    run.turn.handle(event, data)
  }

  #show (activity) {
    if (!this.#run?.stopping) this.activity.show(activity)
  }

  #failed (cause, turn, prompt) {
    const error = asApiError(cause)
    const activeRun = error.code === 'RUN_ACTIVE' ? error.details.runId : undefined
    turn.fail(error, activeRun ? [button('Show that run', () => this.#follow({ runId: activeRun }))] : [])
    if (prompt !== undefined) this.composer.restore(prompt)
    if (error.sandboxEnded) this.#showEnded('The sandbox has ended.')
  }

  #stop () {
    const run = this.#run
    if (!run || run.stopping) return
    run.stopping = true
    this.activity.stopping()
    announce('Stopping')
    // Before it has an id there is nothing to name: then it is cancelled as soon as it has started.
    if (run.runId !== undefined) this.#cancel(run)
  }

  async #cancel (run) {
    try {
      await send('POST', paths.cancel(this.sandbox.id, run.runId))
    } catch (error) {
      run.stopping = false
      run.turn.fail(asApiError(error))
      this.activity.start()
    }
  }

  async #endSession () {
    const volume = this.sandbox.volume?.name
    const sure = await ask({
      title: 'End this session?',
      text: `${this.#run ? 'Claude stops, and the' : 'The'} sandbox with all its processes is removed. ` +
        (volume ? `Files on the volume “${volume}” are kept.` : 'Files outside of a volume are lost.'),
      action: 'End session'
    })
    if (!sure) return
    this.bar.ending('Ending…')
    announce('Ending the session')
    try {
      const report = await (await send('DELETE', paths.sandbox(this.sandbox.id))).json()
      this.#showEnded('You ended this session.', report)
    } catch (error) {
      if (error.sandboxEnded) return this.#showEnded('The sandbox had ended already.')
      this.bar.reset()
      this.#turns.append(notice(asApiError(error)))
      this.column.follow()
    }
  }

  /** Whether the sandbox is still there. A failed look-up says nothing: the next one may. */
  async #check () {
    if (this.#ended || this.#run) return
    const sandbox = await getJson(paths.sandbox(this.sandbox.id)).catch((error) => error)
    if (sandbox.sandboxEnded || (sandbox.status && sandbox.status !== 'running')) {
      this.#showEnded('The sandbox has ended.')
    }
  }

  #showEnded (text, report) {
    if (this.#ended) return
    this.#ended = true
    this.welcome.remove()
    this.bar.ended()
    const volume = this.sandbox.volume?.name
    this.dock.replaceChildren(endedNotice({ text, report, volume, newSandbox: this.newSandbox }))
    announce(`${text} You can create a new sandbox.`)
  }
}

function asApiError (error) {
  if (error instanceof ApiError) return error
  return new ApiError({ message: error.message, hint: 'Reload the page, then try again.' })
}
