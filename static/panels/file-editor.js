import { send } from '../lib/api.js'
import { announce, confirmDialog, h } from '../lib/dom.js'
import { words } from '../lib/words.js'
import { button, notice } from '../views/notice.js'

/** A file's text to be edited and saved, unless the file has changed meanwhile. */
export class FileEditor {
  #path
  #etag
  #onSaved
  /** As the file has them; a text field has line feeds only. */
  #lineBreak
  #saved
  #field
  #state = h('span', { class: 'muted small', role: 'status' })
  #problems = h('div')
  #save
  #leaving = (event) => { if (this.element.isConnected) event.preventDefault() }

  /**
   * @param {{path: string, text: string, etag: string}} file
   * @param {{onSaved: (text: string, etag: string, entry: object) => void, onClose: () => void,
   *   onReload: () => void}} options called when it has been saved, when somebody is done, and to begin
   * again with what the file is now
   */
  constructor ({ path, text, etag }, { onSaved, onClose, onReload }) {
    this.#path = path
    this.#etag = etag
    this.#onSaved = onSaved
    this.onReload = onReload
    this.#lineBreak = text.includes('\r\n') ? '\r\n' : '\n'
    this.#saved = text.replaceAll('\r\n', '\n')
    this.#field = h('textarea', {
      class: 'mono',
      'aria-label': words.files.content,
      wrap: 'off',
      spellcheck: 'false',
      autocapitalize: 'off',
      oninput: () => this.#show()
    })
    this.#field.value = this.#saved
    this.#save = button(words.files.save, () => this.save(), { kind: 'primary small', symbol: 'check' })
    this.element = h('div', { class: 'file-editor', onkeydown: (event) => this.#onKey(event) },
      this.#problems, this.#field,
      h('div', { class: 'file-editor-actions' },
        this.#state, button(words.common.close, () => onClose(), { kind: 'small' }), this.#save))
    this.#show()
  }

  get changed () {
    return this.#field.value !== this.#saved
  }

  /** What is searched. */
  get target () {
    const field = this.#field
    return { get text () { return field.value }, mark: (...found) => this.#mark(...found), leave: () => field.focus() }
  }

  focus () {
    this.#field.focus()
    this.#field.setSelectionRange(0, 0)
    this.#field.scrollTop = 0
  }

  /** @returns whether what was not saved may be lost */
  async mayClose () {
    return !this.changed || await confirmDialog({
      title: words.files.discardTitle, text: words.files.discardAbout, action: words.files.discard
    })
  }

  async save ({ always = false } = {}) {
    if (!this.changed && !always) return
    const { value } = this.#field
    const text = value.replaceAll('\n', this.#lineBreak)
    this.#save.disabled = true
    this.#problems.replaceChildren()
    try {
      const response = await send('PUT', this.#path, {
        body: text, headers: { 'content-type': 'application/octet-stream', ...(!always && { 'if-match': this.#etag }) }
      })
      this.#etag = etagOf(response)
      this.#saved = value
      this.#onSaved(text, this.#etag, await response.json())
      announce(words.files.saved)
    } catch (error) {
      this.#problems.replaceChildren(error.code === 'FILE_CHANGED' ? this.#conflict() : notice(error))
    }
    this.#show()
  }

  #conflict () {
    return notice({ message: words.files.changedMeanwhile, hint: words.files.changedMeanwhileHint }, {
      actions: [
        button(words.files.loadAgain, () => this.onReload()),
        button(words.files.replace, () => this.save({ always: true }))
      ]
    })
  }

  #show () {
    this.#save.disabled = !this.changed
    this.#state.textContent = this.changed ? words.files.notSaved : ''
    this.element.toggleAttribute('data-changed', this.changed)
    window[this.changed ? 'addEventListener' : 'removeEventListener']('beforeunload', this.#leaving)
  }

  /** A selection shows only in a field with the focus; the line is brought into view in any case. */
  #mark (found, length, at) {
    if (found.length === 0) return
    const field = this.#field
    field.setSelectionRange(found[at], found[at] + length)
    const lines = field.value.slice(0, found[at]).split('\n').length - 1
    const height = parseFloat(window.getComputedStyle(field).lineHeight)
    field.scrollTop = Math.max(0, lines * height - field.clientHeight / 2)
  }

  #onKey (event) {
    if (event.key.toLowerCase() !== 's' || !(event.ctrlKey || event.metaKey) || event.shiftKey || event.altKey) return
    event.preventDefault()
    this.save()
  }
}

/** Something on the way may have marked it as weak. */
export function etagOf (response) {
  return /"[0-9a-f]{64}"/.exec(response.headers.get('etag') ?? '')?.[0]
}

/** Why this text cannot be edited without changing more than what somebody types; undefined if it can. */
export function problemOf (text) {
  const alone = text.replaceAll('\r\n', '')
  if (alone.includes('\r') || (alone.includes('\n') && alone.length < text.length)) return words.files.lineBreaks
}
