import { Activity } from '../chat/activity.js'
import { promptOf } from '../chat/attachments.js'
import { Composer } from '../chat/composer.js'
import { Conversation } from '../chat/conversation.js'
import { confirmEnd, endSandbox } from '../chat/end-sandbox.js'
import { Queue } from '../chat/queue.js'
import { RunOptions } from '../chat/run-options.js'
import { SandboxBar } from '../chat/sandbox-bar.js'
import { ConversationPicker } from '../chat/conversation-picker.js'
import { SandboxMonitor } from '../chat/sandbox-monitor.js'
import { asApiError } from '../lib/api.js'
import { announce, h } from '../lib/dom.js'
import { onShortcut } from '../lib/keys.js'
import { Panels } from '../panels/panels.js'
import { endedNotice, welcome } from './chat-parts.js'
import { button, notice } from './notice.js'

/** Of a run that is listed the service tells only so many characters of its prompt. */
const listedPromptLength = 200

/** The chat with Claude in one sandbox. It is kept while another view is shown (7.10). */
export class ChatView {
  /** The chat has the whole height, and its bar takes the place of the name of the page. */
  full = true
  #run
  /** The class, loaded while one can write a prompt. */
  #FollowedRun
  /** Loaded with the conversation. */
  #ports
  /** Loaded with the conversation, as well. */
  #usage
  #ended = false
  /** Conversations being loaded. */
  #loading = 0
  #options = new RunOptions()

  constructor (sandbox, { scripted, newSandbox }) {
    this.sandbox = sandbox
    this.scripted = scripted
    this.newSandbox = newSandbox
    this.conversation = new Conversation({
      sandboxId: sandbox.id,
      workdir: sandbox.workdir,
      scripted,
      welcome: welcome((prompt) => this.#submit(prompt)),
      onEdit: (prompt, pictures) => this.composer.edit(prompt, pictures)
    })
    this.panels = new Panels(sandbox, {
      since: () => this.#run?.startedAt ?? this.conversation.lastRunStart ?? sandbox.createdAt,
      edits: () => this.conversation.edits,
      onLeave: () => this.composer.focus(),
      onSandboxEnded: () => this.monitor.check(),
      onToggle: (kind) => this.#ports?.watch(kind === 'terminal')
    })
    this.picker = new ConversationPicker(sandbox.id, {
      onNew: () => this.#switch(() => this.conversation.startNew()),
      onOpen: (session) => this.#switch(() => this.conversation.open({ session }))
    })
    this.bar = new SandboxBar(sandbox, {
      picker: this.picker.element,
      tools: this.panels.buttons,
      onEnd: () => this.#endSession(),
      onExpired: () => this.monitor.check()
    })
    this.composer = new Composer(sandbox.id, {
      onSend: (prompt, pictures) => this.#submit(prompt, pictures),
      onStop: () => this.#run?.stop(),
      options: this.#options.element,
      prompts: () => this.conversation.prompts,
      commands: () => this.conversation.commands
    })
    this.activity = new Activity({ onStop: () => this.#run?.stop() })
    this.queue = new Queue(sandbox.id, {
      onSend: (prompt, pictures) => this.#submit(prompt, pictures),
      onEdit: (prompt, pictures) => this.composer.restore(prompt, pictures)
    })
    this.dock = h('div', { class: 'dock' }, this.activity.element, this.queue.element, this.composer.element)
    this.main = h('div', { class: 'chat-main' }, this.conversation.column.element, this.dock)
    this.element = h('section', { class: 'chat', 'aria-label': 'Chat' }, this.main, this.panels.element)
    this.monitor = new SandboxMonitor(sandbox.id, {
      busy: () => this.#ended || this.#run !== undefined,
      onEnded: () => this.#showEnded('The sandbox has ended.'),
      onConnection: (state) => this.bar.setConnection(state)
    })
    this.onKey = onShortcut({
      Esc: () => { if (!this.panels.closeOnEscape()) this.#run?.stop() },
      'Shift Esc': () => this.composer.focus(),
      'Ctrl Shift Enter': () => this.#run?.turn.openRequest?.answer('allow'),
      'Ctrl Shift Backspace': () => this.#run?.turn.openRequest?.answer('deny'),
      'Ctrl Shift O': () => this.#switch(() => this.conversation.startNew()),
      'Ctrl Shift F': () => this.panels.toggle('files'),
      'Ctrl Shift G': () => this.panels.toggle('changes'),
      'Ctrl `': () => this.panels.toggle('terminal'),
      'Ctrl Shift C': () => this.#copyLast('.claude > .markdown'),
      'Ctrl Shift ;': () => this.#copyLast('.markdown .code code')
    })
    this.#open()
  }

  /** The view is now on the page. */
  shown () {
    document.addEventListener('keydown', this.onKey)
    this.monitor.start()
    this.composer.focus()
  }

  /** Another view is on the page; a run continues and is still followed. */
  hidden () {
    document.removeEventListener('keydown', this.onKey)
    this.monitor.stop()
  }

  /** The chat will not be shown again. */
  close () {
    this.#run?.leave()
    this.bar.close()
    this.conversation.close()
    this.panels.close()
    this.#ports?.close()
  }

  /** Shows the stored conversation, and follows the active run. */
  async #open () {
    const { activeRun } = this.sandbox
    this.composer.setBusy(Boolean(activeRun))
    const run = await this.#load(() => this.#openConversation(activeRun))
    if (run) return await this.#follow({ runId: run.runId, prompt: run.prompt, pictures: run.pictures })
    this.composer.setBusy(false)
    this.#sendNext()
  }

  /** A part of the page that cannot be loaded is told; prompts then wait in the queue for a reload. */
  async #openConversation (activeRun) {
    try {
      const parts = [import('../chat/run.js'), this.conversation.open({ activeRun })]
      const [{ FollowedRun }, run] = await Promise.all(parts)
      this.#FollowedRun = FollowedRun
      this.#acceptDrops()
      this.#showPorts()
      this.#showUsage()
      return run
    } catch (error) {
      this.conversation.showError(asApiError(error))
    }
  }

  async #copyLast (selector) {
    const { copyLast } = await import('../markdown/copy.js')
    await copyLast(this.conversation.last, selector)
  }

  /** Until this is loaded, or if it cannot be, drops are refused. */
  async #acceptDrops () {
    const { acceptDrops } = await import('../chat/drop.js').catch(() => ({}))
    const uploads = acceptDrops?.(this.main, {
      sandbox: this.sandbox, accepts: () => !this.#ended, onUploaded: (names) => this.composer.mention(names)
    })
    if (uploads && !this.#ended) this.composer.element.before(uploads)
  }

  async #showPorts () {
    const { Ports } = await import('../chat/ports.js')
    if (this.#ended) return
    this.#ports = new Ports(this.sandbox.id)
    this.#ports.acceptLinks(this.conversation.column.element)
    this.activity.element.before(this.#ports.element)
    if (this.conversation.lastRunStart !== undefined) this.#ports.look()
  }

  async #showUsage () {
    const { UsageMeter } = await import('../chat/usage.js').catch(() => ({}))
    if (UsageMeter === undefined) return
    this.#usage = new UsageMeter(this.sandbox, this.scripted)
    this.#options.element.after(this.#usage.element)
    this.#usage.show(this.conversation)
  }

  async #switch (change) {
    if (this.#run) return announce('Claude is still working. Press Escape to stop it.')
    await this.#load(change)
    if (!this.#sendNext()) this.composer.focus()
  }

  /** Prompts submitted meanwhile are queued, as they belong to the conversation being loaded. */
  async #load (change) {
    this.#loading++
    const result = await change()
    this.#loading--
    this.#usage?.show(this.conversation)
    this.picker.setTitle(this.conversation.title)
    return result
  }

  #submit (prompt, pictures = []) {
    if (this.#ended) return
    if (!this.#ready) return this.queue.add(prompt, pictures)
    const { sessionId } = this.conversation
    const parts = promptOf(prompt, pictures)
    const request = { prompt: parts, literal: false, sessionId, onDisconnect: 'continue', ...this.#options.request }
    this.#follow({ prompt, pictures, request })
  }

  /** Whether a prompt can be sent now. */
  get #ready () {
    return this.#run === undefined && this.#loading === 0 && this.conversation.ready && this.#FollowedRun !== undefined
  }

  /** @returns whether there was a queued prompt */
  #sendNext () {
    const next = this.#ended || !this.#ready ? undefined : this.queue.next()
    if (next !== undefined) this.#submit(next.text, next.pictures)
    return next !== undefined
  }

  /** Follows a new or an active run to its end, then sends the next queued prompt. */
  async #follow ({ prompt, pictures, request, runId }) {
    const { sandbox, activity, bar } = this
    const whole = request !== undefined || (prompt !== undefined && [...prompt].length < listedPromptLength)
    const turn = this.conversation.add(prompt, { whole, pictures })
    const run = this.#run = new this.#FollowedRun({
      sandbox, turn, activity, bar, prompt, request, runId, onCommand: () => this.#ports?.look()
    })
    turn.claude.onContext = () => this.#usage?.show(this.conversation)
    this.picker.setTitle(this.conversation.title)
    this.composer.setBusy(true)
    let completed
    try {
      completed = await run.follow()
      if (completed?.sessionId) this.#goOnIn(completed.sessionId)
      if (completed) this.conversation.addRun(run.runId, completed)
      this.#usage?.show(this.conversation)
      if (completed?.outcome === 'sandbox_lost') this.#showEnded('The sandbox has ended.')
    } catch (error) {
      this.#showFailure(asApiError(error), turn, request && { prompt, pictures })
    }
    this.#run = undefined
    this.conversation.lastRunStart = run.startedAt ?? this.conversation.lastRunStart
    this.composer.setBusy(false)
    this.panels.refresh()
    this.#ports?.look()
    if (!completed || completed.isError) this.queue.hold()
    if (!this.#sendNext() && this.element.isConnected && this.#canTakeFocus) this.composer.focus()
  }

  /** The run may have begun another conversation, as with `/clear`. */
  #goOnIn (sessionId) {
    this.conversation.goOnIn(sessionId)
    this.picker.setTitle(this.conversation.title)
  }

  /** Whether moving the focus would not disturb a keyboard user elsewhere on the page. */
  get #canTakeFocus () {
    return document.activeElement === document.body || this.dock.contains(document.activeElement)
  }

  #showFailure (error, turn, sent) {
    // What is shown then says it, and what to do about it.
    if (error.sandboxEnded) return this.#showEnded('The sandbox has ended.')
    const activeRun = error.code === 'RUN_ACTIVE' ? error.details.runId : undefined
    turn.fail(error, activeRun ? [button('Show that run', () => this.#follow({ runId: activeRun }))] : [])
    if (sent) this.composer.restore(sent.prompt, sent.pictures)
  }

  /** What the service has said of a new sandbox, such as that another one uses its volume, too. */
  warn (warnings = []) {
    this.dock.prepend(...warnings.map(({ message }) => notice({ message })))
  }

  async #endSession () {
    const running = this.#run !== undefined
    const confirmed = await confirmEnd(this.sandbox, { title: 'End this session?', action: 'End session', running })
    if (!confirmed) return
    this.bar.setEnding('Ending…')
    announce('Ending the session')
    try {
      this.#showEnded('You ended this session.', await endSandbox(this.sandbox))
    } catch (error) {
      if (error.sandboxEnded) return this.#showEnded('The sandbox had ended already.')
      this.bar.reset()
      this.conversation.showError(asApiError(error))
    }
  }

  #showEnded (text, report) {
    if (this.#ended) return
    this.#ended = true
    this.element.dataset.ended = ''
    this.conversation.welcome.remove()
    this.bar.setEnded()
    this.panels.close()
    this.#ports?.close()
    const focus = this.#canTakeFocus || this.bar.element.contains(document.activeElement)
    this.dock.replaceChildren(endedNotice({ text, report, sandbox: this.sandbox, newSandbox: this.newSandbox }))
    // Not the button: a user who is typing would press it.
    if (focus) this.dock.querySelector('h2').focus()
    announce(`${text} You can create a new sandbox.`)
  }
}
