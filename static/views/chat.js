import { Activity } from '../chat/activity.js'
import { Composer } from '../chat/composer.js'
import { Conversation } from '../chat/conversation.js'
import { Queue } from '../chat/queue.js'
import { FollowedRun } from '../chat/run.js'
import { RunOptions } from '../chat/run-options.js'
import { SessionBar } from '../chat/session-bar.js'
import { SessionPicker } from '../chat/session-picker.js'
import { asApiError, getJson, paths, send } from '../lib/api.js'
import { announce, ask, h } from '../lib/dom.js'
import { shortcutOf } from '../lib/keys.js'
import { copy } from '../markdown/copy.js'
import { Panels } from '../panels/panels.js'
import { endedNotice, welcome } from './chat-parts.js'
import { button } from './notice.js'

/** How often a quiet sandbox is asked whether it is still there. */
const checkEvery = 30_000

/** The conversation with Claude in one sandbox. It is kept when the reader looks at something else (7.10). */
export class ChatView {
  #run
  #ended = false
  #options = new RunOptions()

  constructor (sandbox, { scripted, newSandbox }) {
    this.sandbox = sandbox
    this.newSandbox = newSandbox
    this.conversation = new Conversation({
      sandboxId: sandbox.id, scripted, welcome: welcome((prompt) => this.#submit(prompt))
    })
    this.panels = new Panels(sandbox, { since: () => this.#run?.startedAt ?? this.lastStart ?? sandbox.createdAt })
    this.picker = new SessionPicker(sandbox.id, {
      onNew: () => this.#switch(() => this.conversation.begin()),
      onOpen: (session) => this.#switch(() => this.conversation.open({ session }))
    })
    this.bar = new SessionBar(sandbox, {
      picker: this.picker.element,
      tools: this.panels.buttons,
      onEnd: () => this.#endSession(),
      onExpired: () => this.#check()
    })
    this.composer = new Composer(sandbox.id, {
      onSend: (prompt) => this.#submit(prompt), onStop: () => this.#run?.stop(), options: this.#options.element
    })
    this.activity = new Activity({ onStop: () => this.#run?.stop() })
    this.queue = new Queue(sandbox.id, {
      onSend: (prompt) => this.#submit(prompt), onEdit: (prompt) => this.composer.restore(prompt)
    })
    this.dock = h('div', { class: 'dock' }, this.activity.element, this.queue.element, this.composer.element)
    this.element = h('section', { class: 'chat', 'aria-label': 'Chat' }, this.bar.element,
      h('div', { class: 'chat-main' }, this.conversation.column.element, this.dock), this.panels.element)
    this.onKey = (event) => this.#key(event)
    this.onVisible = () => { if (document.visibilityState === 'visible') this.#check() }
    this.#open()
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
    this.#run?.leave()
    this.bar.close()
    this.conversation.close()
    this.panels.close()
  }

  /** What the volume keeps, and the run that goes on in the sandbox. */
  async #open () {
    const { activeRun } = this.sandbox
    this.composer.setBusy(Boolean(activeRun))
    const run = await this.conversation.open({ activeRun })
    this.picker.setTitle(this.conversation.title)
    if (run && !this.#run) await this.#follow({ runId: run.runId, prompt: run.prompt })
  }

  async #switch (change) {
    if (this.#run) return announce('Claude is still working. Press Escape to stop it.')
    await change()
    this.picker.setTitle(this.conversation.title)
    this.composer.focus()
  }

  #submit (prompt) {
    if (this.#ended) return
    if (this.#run) return this.queue.add(prompt)
    const { sessionId } = this.conversation
    this.#follow({ prompt, request: { prompt, sessionId, onDisconnect: 'continue', ...this.#options.request } })
  }

  /** A new run, or one that is active already; then what waits for its end. */
  async #follow ({ prompt, request, runId }) {
    const { sandbox, activity, bar } = this
    const turn = this.conversation.add(prompt)
    const run = this.#run = new FollowedRun({ sandbox, turn, activity, bar, prompt, request, runId })
    this.picker.setTitle(this.conversation.title)
    this.composer.setBusy(true)
    let completed
    try {
      completed = await run.follow()
      if (completed?.sessionId) this.conversation.sessionId = completed.sessionId
      if (completed?.outcome === 'sandbox_lost') this.#showEnded('The sandbox has ended.')
    } catch (error) {
      this.#failed(asApiError(error), turn, request && prompt)
    }
    this.#run = undefined
    this.lastStart = run.startedAt ?? this.lastStart
    this.composer.setBusy(false)
    this.panels.changed()
    if (!completed || completed.isError) this.queue.hold()
    const next = this.#ended ? undefined : this.queue.next()
    if (next !== undefined) this.#submit(next)
    else if (this.element.isConnected && !this.panels.hasFocus) this.composer.focus()
  }

  #failed (error, turn, prompt) {
    const activeRun = error.code === 'RUN_ACTIVE' ? error.details.runId : undefined
    turn.fail(error, activeRun ? [button('Show that run', () => this.#follow({ runId: activeRun }))] : [])
    if (prompt) this.composer.restore(prompt)
    if (error.sandboxEnded) this.#showEnded('The sandbox has ended.')
  }

  #key (event) {
    if (document.querySelector('dialog[open]')) return
    const actions = {
      Esc: () => { if (!this.panels.closeOnEscape()) this.#run?.stop() },
      'Shift Esc': () => this.composer.focus(),
      'Ctrl Shift Enter': () => this.#run?.turn.request?.answer('allow'),
      'Ctrl Shift Backspace': () => this.#run?.turn.request?.answer('deny'),
      'Ctrl Shift O': () => this.#switch(() => this.conversation.begin()),
      'Ctrl Shift F': () => this.panels.toggle('files'),
      'Ctrl Shift C': () => this.#copyLast('.claude > .markdown'),
      'Ctrl Shift ;': () => this.#copyLast('.markdown .code code')
    }
    const action = actions[shortcutOf(event)]
    if (!action) return
    event.preventDefault()
    action()
  }

  async #copyLast (selector) {
    const text = [...this.conversation.last?.querySelectorAll(selector) ?? []].at(-1)?.innerText
    if (text) announce(await copy(text) ? 'Copied' : 'Your browser does not let this page copy')
  }

  async #endSession () {
    const { volume, s3 } = this.sandbox
    const sure = await ask({
      title: 'End this session?',
      text: `${this.#run ? 'Claude stops, and the' : 'The'} sandbox with all its processes is removed. ` +
        (volume ? `Files on the volume “${volume.name}” are kept.` : 'Files outside of a volume are lost.') +
        (s3?.syncOnTerminate ? ` They are copied to s3://${s3.bucket}/${s3.keyPrefix ?? ''} first.` : ''),
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
      this.conversation.complain(asApiError(error))
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
    this.conversation.welcome.remove()
    this.bar.ended()
    this.panels.close()
    this.dock.replaceChildren(endedNotice({ text, report, sandbox: this.sandbox, newSandbox: this.newSandbox }))
    announce(`${text} You can create a new sandbox.`)
  }
}
