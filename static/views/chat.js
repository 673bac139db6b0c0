import { Activity } from '../chat/activity.js'
import { promptOf } from '../chat/attachments.js'
import { Composer } from '../chat/composer.js'
import { Conversation } from '../chat/conversation.js'
import { confirmEnd, endSandbox } from '../chat/end-sandbox.js'
import { Queue } from '../chat/queue.js'
import { RunOptions } from '../chat/run-options.js'
import { SandboxBar } from '../chat/sandbox-bar.js'
import { SandboxMonitor } from '../chat/sandbox-monitor.js'
import { Editing } from '../chat/editing.js'
import { listRuns, listSessions } from '../chat/history.js'
import { asApiError, getJson, paths } from '../lib/api.js'
import { setPlace } from '../lib/attention.js'
import { announce, h } from '../lib/dom.js'
import { onShortcut } from '../lib/keys.js'
import { onNews, tell } from '../lib/news.js'
import { words } from '../lib/words.js'
import { Panels } from '../panels/panels.js'
import { endedNotice, welcome } from './chat-parts.js'
import { button, notice } from './notice.js'

/** Of a run that is listed the service tells only so many characters of its prompt. */
const listedPromptLength = 200

/** What the page's title says of a run. */
const doings = { working: words.chat.working, waiting: words.common.waitingForYou, '': '' }

/** The chat with Claude in one sandbox. It is kept while another view is shown (7.10). */
export class ChatView {
  /** The chat has the whole height, and its bar takes the place of the name of the page. */
  full = true
  #run
  /** The class, loaded while one can write a prompt. */
  #FollowedRun
  /** Loaded with the conversation. */
  #ports
  #uploads
  /** Loaded with the conversation, as well. */
  #usage
  #editing = new Editing(() => this.composer.cancelEdit())
  #ended = false
  #shown = false
  /** What is shown, as in the address: a conversation, `new`, or undefined where there is none yet. */
  #place
  /** What Claude is doing in it. @type {'working' | 'waiting' | ''} */
  #state = ''
  /** Whether there were news of runs while one was followed. */
  #looksLater = false
  /** Conversations being loaded. */
  #loading = 0
  #options

  /**
   * @param {{scripted: boolean, place?: string, newSandbox: (spec: object, place?: string) => void,
   *   onPlace: () => void, goTo: (place: string) => void}} options what to show, what to do when that is another one by
   *   itself, and how to go to another one
   */
  constructor (sandbox, { scripted, place, newSandbox, onPlace, goTo }) {
    this.sandbox = sandbox
    this.scripted = scripted
    this.newSandbox = newSandbox
    this.onPlace = onPlace
    this.goTo = goTo
    this.conversation = new Conversation({
      sandboxId: sandbox.id,
      workdir: sandbox.workdir,
      scripted,
      welcome: welcome((prompt) => this.#submit(prompt)),
      onEdit: (prompt, pictures) => {
        this.#editing.take()
        this.composer.edit(prompt, pictures)
      },
      onFork: (turn, prompt, pictures) => this.#editTurn(turn, prompt, pictures)
    })
    this.#options = new RunOptions(sandbox.id)
    this.panels = new Panels(sandbox, {
      since: () => this.#run?.startedAt ?? this.conversation.lastRunStart ?? sandbox.createdAt,
      edits: () => this.conversation.edits,
      onLeave: () => this.composer.focus(),
      onSandboxEnded: () => this.monitor.check(),
      onToggle: (kind) => this.#ports?.watch(kind === 'terminal')
    })
    this.titleElement = h('h1', { class: 'conversation-title', dir: 'auto' }, words.chat.newConversation)
    this.bar = new SandboxBar(sandbox, {
      title: this.titleElement,
      tools: this.panels.buttons,
      onEnd: () => this.#endSession(),
      onExpired: () => this.monitor.check()
    })
    this.composer = new Composer(sandbox.id, {
      onSend: (prompt, pictures) => this.#submit(prompt, pictures, this.#editing.take()),
      onStop: () => this.#run?.stop(),
      onFiles: (files) => this.#uploadFiles(files),
      options: this.#options.element,
      prompts: () => this.conversation.prompts,
      commands: () => this.conversation.commands
    })
    this.activity = new Activity({ onStop: () => this.#run?.stop() })
    this.queue = new Queue({
      onSend: (prompt, pictures) => this.#submit(prompt, pictures),
      onEdit: (prompt, pictures) => this.composer.restore(prompt, pictures)
    })
    this.dock = h('div', { class: 'dock' },
      this.activity.element, this.queue.element, this.#editing.element, this.composer.element)
    this.main = h('div', { class: 'chat-main' }, this.conversation.column.element, this.dock)
    this.element = h('section', { class: 'chat', 'aria-label': words.chat.name }, this.main, this.panels.element)
    this.monitor = new SandboxMonitor(sandbox.id, {
      busy: () => this.#ended || this.#run !== undefined,
      onEnded: () => this.#showEnded(words.chat.sandboxEnded),
      onConnection: (state) => this.bar.setConnection(state),
      onSandbox: () => this.#lookForRuns()
    })
    this.onKey = onShortcut({
      Esc: () => { if (!this.panels.closeOnEscape()) this.#run?.stop() },
      'Shift Esc': () => this.composer.focus(),
      'Ctrl Shift Enter': () => this.#run?.turn.openRequest?.answer('allow'),
      'Ctrl Shift Backspace': () => this.#run?.turn.openRequest?.answer('deny'),
      'Ctrl Shift O': () => goTo('new'),
      'Ctrl Shift F': () => this.panels.toggle('files'),
      'Ctrl Shift G': () => this.panels.toggle('changes'),
      'Ctrl `': () => this.panels.toggle('terminal'),
      'Ctrl Shift C': () => this.#copyLast('.claude > .markdown'),
      'Ctrl Shift ;': () => this.#copyLast('.markdown .code code')
    })
    this.stopNews = onNews((news) => this.#hear(news))
    this.#show(place, { activeRun: sandbox.activeRun ?? undefined })
  }

  /** What is shown, as in the address. */
  get place () {
    return this.#place
  }

  get ended () {
    return this.#ended
  }

  /** The conversation, if there is one. */
  get sessionId () {
    return this.#place === 'new' ? undefined : this.#place
  }

  /** Goes to another conversation; a run of this one continues. Without a place this one stays. */
  async go (place) {
    if (this.#ended || place === undefined || place === this.#place) return this.onPlace()
    // Its answer would be lost otherwise, and nobody would know whether it has begun.
    await this.#run?.started
    this.#leaveRun()
    await this.#show(place, { asked: true })
  }

  /** The view is now on the page. */
  shown () {
    this.#shown = true
    this.#setTitle()
    document.addEventListener('keydown', this.onKey)
    this.monitor.start()
    this.composer.focus()
  }

  /** Another view is on the page; a run continues and is still followed. */
  hidden () {
    this.#shown = false
    document.removeEventListener('keydown', this.onKey)
    this.monitor.stop()
  }

  /** The chat will not be shown again. */
  close () {
    this.stopNews()
    this.#run?.leave()
    this.bar.close()
    this.conversation.close()
    this.panels.close()
    this.#ports?.close()
  }

  /** Shows a conversation, and follows its run. @param {{activeRun?: object, asked?: boolean}} options */
  async #show (place, { activeRun, asked = false } = {}) {
    const isNew = place === 'new'
    this.#place = place
    this.#state = ''
    this.#editing.take()
    if (asked && this.#shown) this.composer.focus()
    for (const part of [this.composer, this.queue]) part.open(isNew ? this.sandbox.id : place)
    this.#setBusy(activeRun !== undefined)
    const run = await this.#load(() => this.#openConversation(isNew ? undefined : place, activeRun, isNew))
    if (this.#place !== place) return
    this.#settle(isNew || this.conversation.isEmpty ? place : this.conversation.sessionId)
    if (this.#shown && this.#canTakeFocus) this.composer.focus()
    if (run) return await this.#follow({ runId: run.runId, prompt: run.prompt, pictures: run.pictures })
    this.#setBusy(false)
    this.#sendNext()
  }

  /** Now it is known which conversation is shown: draft and queue are its own. */
  #settle (place) {
    this.#place = place
    for (const part of [this.composer, this.queue]) part.move(this.sessionId ?? this.sandbox.id)
    this.#setTitle()
    this.onPlace()
  }

  /** A part of the page that cannot be loaded is told; prompts then wait in the queue for a reload. */
  async #openConversation (sessionId, activeRun, isNew) {
    try {
      const opening = isNew ? this.conversation.startNew() : this.conversation.open({ sessionId, activeRun })
      const [{ FollowedRun }, run] = await Promise.all([import('../chat/run.js'), opening])
      if (this.#FollowedRun === undefined) {
        this.#acceptDrops()
        this.#showPorts()
        this.#showUsage()
      }
      this.#FollowedRun = FollowedRun
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
    const uploads = await this.#loadUploads()
    uploads?.acceptDrops(this.main, () => !this.#ended)
  }

  async #uploadFiles (files) {
    const uploads = await this.#loadUploads()
    const { partMissing: message, partMissingHint: hint } = words.page
    if (uploads === undefined) return this.conversation.showError({ message, hint })
    await uploads.addFiles(files)
  }

  async #loadUploads () {
    const { ChatUploads } = await import('../chat/uploads.js').catch(() => ({}))
    if (ChatUploads === undefined || this.#ended) return
    if (this.#uploads === undefined) {
      this.#uploads = new ChatUploads(this.sandbox, (names) => this.composer.mention(names))
      this.composer.element.before(this.#uploads.element)
    }
    return this.#uploads
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

  /** The conversation may have been renamed. */
  async #hear ({ kind, sessionId, title }) {
    if (kind !== 'changed' || sessionId !== this.conversation.sessionId) return
    const isNamed = ({ sessionId: other }) => other === sessionId
    const name = title ?? (await listSessions(this.sandbox.id).catch(() => [])).find(isNamed)?.title
    if (sessionId !== this.conversation.sessionId || name === undefined) return
    this.conversation.title = name
    this.#setTitle()
  }

  /** The run continues, and is followed again by whoever shows its conversation. What is queued waits. */
  #leaveRun () {
    const run = this.#run
    if (run === undefined) return
    this.#run = undefined
    this.queue.hold()
    run.leave()
  }

  /** Somebody else, in another tab or browser, may have started a run: in this conversation it is shown. */
  async #lookForRuns () {
    const isBusy = () => this.#run !== undefined || this.#loading > 0 || this.#ended || this.#editing.isOn
    const { sessionId } = this.conversation
    this.#looksLater = isBusy()
    if (this.#looksLater) return
    const runs = await listRuns(this.sandbox.id)
    if (isBusy() || this.conversation.sessionId !== sessionId) return
    const latest = runs.find((run) => run.sessionId === sessionId)
    if (latest !== undefined && latest.runId !== this.conversation.latestRun) return await this.#show(this.#place)
    // Nothing was begun here: what was begun elsewhere is what one wants to see.
    const active = runs.find(({ status, sandboxId }) => status === 'running' && sandboxId === this.sandbox.id)
    if (active?.sessionId && this.#place === undefined && this.composer.empty) await this.#show(active.sessionId)
  }

  /** Prompts submitted meanwhile are queued, as they belong to the conversation being loaded. */
  async #load (change) {
    this.#loading++
    const changing = change()
    // The figures of the conversation before are gone, too.
    this.#usage?.show(this.conversation)
    const result = await changing
    this.#loading--
    this.#usage?.show(this.conversation)
    return result
  }

  /** @param {import('../chat/turn.js').Turn} [edited] the turn whose prompt this is, in other words */
  #submit (prompt, pictures = [], edited) {
    if (this.#ended) return
    if (!this.#ready) return this.queue.add(prompt, pictures)
    if (edited !== undefined) this.conversation.forkBefore(edited)
    const { sessionId, fork } = this.conversation
    const parts = promptOf(prompt, pictures)
    const own = { prompt: parts, literal: false, sessionId, ...(fork && { fork }), onDisconnect: 'continue' }
    const request = { ...own, ...this.#options.request }
    this.#follow({ prompt, pictures, request })
  }

  /** An earlier prompt is to be sent in other words, in a conversation that goes on from there. */
  #editTurn (turn, prompt, pictures) {
    if (!this.#ready || this.#ended) return
    this.#editing.start(turn)
    this.composer.edit(prompt, pictures)
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
    const { sandbox, activity, bar, conversation } = this
    const { sessionId } = conversation
    const whole = request !== undefined || (prompt !== undefined && [...prompt].length < listedPromptLength)
    const turn = conversation.add(prompt, { whole, pictures })
    const onState = (state) => {
      // A run that the page has left goes on.
      if (this.#run !== run) return
      this.#setState(state)
      tell({ kind: 'state', sandboxId: sandbox.id, sandbox, sessionId, title: conversation.title ?? '', state })
    }
    const onCommand = () => this.#ports?.look()
    const run = this.#run = new this.#FollowedRun({
      sandbox, turn, activity, bar, onState, onCommand, prompt, request, runId
    })
    turn.claude.onContext = () => this.#usage?.show(conversation)
    this.#settle(sessionId)
    this.#setBusy(true)
    let completed
    try {
      completed = await run.follow()
      if (this.#run !== run) return
      if (completed?.sessionId) this.#goOnIn(completed.sessionId)
      if (completed) this.conversation.addRun(run.runId, completed)
      this.#usage?.show(this.conversation)
      if (completed?.outcome === 'sandbox_lost') this.#showEnded(words.chat.sandboxEnded)
    } catch (error) {
      if (this.#run !== run) return
      this.#showFailure(asApiError(error), turn, request && { prompt, pictures })
    }
    this.#run = undefined
    conversation.lastRunStart = run.startedAt ?? conversation.lastRunStart
    conversation.latestRun = run.runId ?? conversation.latestRun
    if (turn.claude.lastMessage !== undefined) conversation.fork = undefined
    else if (run.runId !== undefined) conversation.retryFork()
    this.#setBusy(false)
    this.panels.refresh()
    this.#ports?.lookAgain()
    if (!completed || completed.isError) this.queue.hold()
    const hasNext = this.#sendNext()
    if (!hasNext && this.#looksLater) this.#lookForRuns().catch(() => {})
    if (!hasNext && this.element.isConnected && this.#canTakeFocus) this.composer.focus()
  }

  /** The run may have begun another conversation, as with `/clear`. */
  #goOnIn (sessionId) {
    this.conversation.goOnIn(sessionId)
    this.#settle(sessionId)
  }

  #setBusy (busy) {
    this.composer.setBusy(busy)
    this.main.toggleAttribute('data-busy', busy)
  }

  #setState (state) {
    this.#state = state
    this.#setTitle()
  }

  #setTitle () {
    const title = this.conversation.title || words.chat.newConversation
    this.titleElement.textContent = this.titleElement.title = title
    if (this.#shown) setPlace(title, doings[this.#state])
  }

  /** Goes to the conversation of a run in this sandbox; one that has none yet is shown here. */
  async #showRun (runId) {
    const { sessionId } = await getJson(paths.run(this.sandbox.id, runId)).catch(() => ({}))
    if (sessionId && sessionId !== this.conversation.sessionId) this.goTo(sessionId)
    else this.#follow({ runId })
  }

  /** Whether moving the focus would not disturb a keyboard user elsewhere on the page. */
  get #canTakeFocus () {
    return document.activeElement === document.body || this.dock.contains(document.activeElement)
  }

  #showFailure (error, turn, sent) {
    // What is shown then says it, and what to do about it.
    if (error.sandboxEnded) return this.#showEnded(words.chat.sandboxEnded)
    const activeRun = error.code === 'RUN_ACTIVE' ? error.details.runId : undefined
    turn.fail(error, activeRun ? [button(words.chat.showThatRun, () => this.#showRun(activeRun))] : [])
    if (sent) this.composer.restore(sent.prompt, sent.pictures)
  }

  /** What the service has said of a new sandbox, such as that another one uses its volume, too. */
  warn (warnings = []) {
    this.dock.prepend(...warnings.map(({ message }) => notice({ message, lang: 'en' })))
  }

  async #endSession () {
    const running = this.#run !== undefined
    const { titleSession: title, actionSession: action } = words.endSandbox
    const confirmed = await confirmEnd(this.sandbox, { title, action, running })
    if (!confirmed) return
    this.bar.setEnding(words.chat.ending)
    this.#ports?.cancel()
    announce(words.chat.endingSession)
    try {
      this.#showEnded(words.chat.youEnded, await endSandbox(this.sandbox))
    } catch (error) {
      if (error.sandboxEnded) return this.#showEnded(words.chat.sandboxEndedBefore)
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
    this.dock.replaceChildren(endedNotice({
      text, report, sandbox: this.sandbox, newSandbox: (spec) => this.newSandbox(spec, this.sessionId)
    }))
    // Not the button: a user who is typing would press it.
    if (focus) this.dock.querySelector('h2').focus()
    announce(words.chat.endedAnnounced(text))
    this.monitor.stop()
    this.onPlace()
    tell({ kind: 'ended', sandboxId: this.sandbox.id })
  }
}
