import { ApiError, offline, paths } from '../lib/api.js'
import { announce, h } from '../lib/dom.js'
import { formatDuration, stripAnsi } from '../lib/format.js'
import { icon } from '../lib/icons.js'
import { uuid } from '../lib/ids.js'
import { openEvents } from '../lib/sse.js'
import { words } from '../lib/words.js'
import { stepName } from './chat-parts.js'
import { nameFields } from './create-fields.js'
import { button, notice } from './notice.js'
import { rememberSandbox } from './specs.js'

/** Errors that different options may avoid. */
const correctable = ['BAD_REQUEST', 'FORBIDDEN', 'INVALID_SANDBOX', 'SANDBOX_NAME_TAKEN', 'SECRET_NOT_FOUND',
  'VOLUME_IN_USE', 'IMAGE_BUILD_FAILED', 'NOT_SUPPORTED', 'CLONE_FAILED', 'LIMIT_REACHED', 'S3_REFUSED', 'SYNC_INCOMPLETE']

/** Steps that happen at the same time as one that fails are neither done nor to blame. */
const symbols = { done: 'check', stopped: 'stop' }

/** Creates a sandbox and shows the service's own steps while it does (7.2). */
export class ProgressView {
  /** The same for every attempt, so that a sandbox of an interrupted attempt is reused, not created twice. */
  #key = uuid()
  #following = new AbortController()
  #steps = new Map()
  #title = h('h1', { tabindex: '-1' })
  #list = h('ol', { class: 'steps' })
  #log = h('pre', { tabindex: '0', 'aria-label': words.progress.buildLog })
  #logBox = h('details', { class: 'build-log', hidden: true }, h('summary', {}, words.progress.buildLog), this.#log)
  #elapsed = h('span', { class: 'muted' })
  #problem = h('div')

  constructor ({ spec, onCreated, onEdit, onBack }) {
    this.spec = spec
    this.onCreated = onCreated
    this.onEdit = onEdit
    this.onBack = onBack
    this.element = h('section', { class: 'card progress' },
      h('div', { class: 'progress-head' }, this.#title, this.#elapsed),
      this.#list, this.#logBox, this.#problem)
    this.#create()
  }

  shown () {
    this.#title.focus()
  }

  close () {
    this.#following.abort()
    clearInterval(this.timer)
  }

  async #create () {
    this.#begin()
    try {
      const sandbox = await this.#follow()
      if (this.#following.signal.aborted) return
      rememberSandbox(sandbox.id, this.spec)
      announce(words.progress.ready)
      this.onCreated(sandbox)
    } catch (error) {
      if (!this.#following.signal.aborted) this.#fail(error)
    } finally {
      clearInterval(this.timer)
    }
  }

  #begin () {
    const startedAt = Date.now()
    this.#title.textContent = words.progress.creating
    this.element.setAttribute('aria-busy', 'true')
    this.#steps.clear()
    for (const part of [this.#list, this.#log, this.#problem]) part.replaceChildren()
    // Shown until the service reports its first step.
    this.#show({ step: 'connect', status: 'started' }, words.progress.contact)
    this.timer = setInterval(() => { this.#elapsed.textContent = formatDuration(Date.now() - startedAt) }, 200)
    announce(words.progress.creating)
  }

  /** @returns the created sandbox; throws an ApiError */
  async #follow () {
    const events = openEvents('POST', paths.sandboxes, {
      json: this.spec,
      headers: { 'idempotency-key': this.#key },
      signal: this.#following.signal
    })
    for await (const { event, data } of events) {
      this.#show({ step: 'connect', status: 'done' }, words.progress.contact)
      if (event === 'step') this.#show(data)
      else if (event === 'log') this.#addLog(data)
      else if (event === 'error') throw new ApiError(data, data.statusCode)
      else if (event === 'sandbox') return data
    }
    throw offline()
  }

  #show ({ step, status, durationMs }, name = stepName(step)) {
    const line = this.#steps.get(step) ?? h('li', {})
    if (!this.#steps.has(step)) this.#list.append(line)
    this.#steps.set(step, line)
    line.dataset.state = status
    line.replaceChildren(
      status === 'started' ? h('span', { class: 'spinner' }) : icon(symbols[status] ?? 'cross'),
      h('span', { class: 'step-name' }, name),
      h('span', { class: 'visually-hidden' }, words.progress.states[status]),
      typeof durationMs === 'number' ? h('span', { class: 'muted' }, formatDuration(durationMs)) : '')
  }

  #nameOf (step) {
    return this.#steps.get(step).querySelector('.step-name').textContent
  }

  #addLog (data) {
    this.#logBox.hidden = false
    const text = stripAnsi(String(data.text ?? ''))
    const atEnd = this.#log.scrollHeight - this.#log.scrollTop - this.#log.clientHeight < 24
    this.#log.append(text.endsWith('\n') ? text : `${text}\n`)
    if (atEnd) this.#log.scrollTop = this.#log.scrollHeight
  }

  #fail (error) {
    this.element.removeAttribute('aria-busy')
    this.#title.textContent = words.progress.notCreated
    if (error.code === 'IDEMPOTENCY_KEY_REUSED' || error.sandboxEnded) this.#key = uuid()
    const open = [...this.#steps.keys()].filter((step) => this.#steps.get(step).dataset.state === 'started')
    const failed = open.includes(error.step) ? error.step : open.at(-1)
    for (const step of open) this.#show({ step, status: step === failed ? 'failed' : 'stopped' }, this.#nameOf(step))
    if (this.#log.textContent !== '') this.#logBox.open = true
    const edit = button(words.progress.editOptions, () => this.onEdit(error), { kind: 'primary' })
    this.#problem.replaceChildren(notice({ ...error, message: nameFields(error.message) }, {
      dismissible: false,
      actions: [
        correctable.includes(error.code) && edit,
        button(words.common.tryAgain, () => this.#create(), { kind: correctable.includes(error.code) ? '' : 'primary' }),
        button(words.common.back, () => this.onBack())
      ].filter(Boolean)
    }))
  }
}
