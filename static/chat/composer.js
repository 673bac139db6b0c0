import { focusInput, h } from '../lib/dom.js'
import { icon } from '../lib/icons.js'
import { inThisTab } from '../lib/remember.js'

/**
 * Where prompts are written. Enter sends, Shift+Enter makes a new line, and an input method's Enter is its own.
 * A draft survives a reload. While Claude works the empty composer's button stops it.
 */
export class Composer {
  #input = h('textarea', {
    id: 'prompt', rows: '1', placeholder: 'Ask Claude to do something…', autocomplete: 'off', enterkeyhint: 'send'
  })

  #button = h('button', { type: 'submit', class: 'send' })
  #busy = false
  #draft

  constructor (sandboxId, { onSend, onStop, options }) {
    this.onSend = onSend
    this.onStop = onStop
    this.#draft = `draft.${sandboxId}`
    this.#input.value = inThisTab.read(this.#draft, '')
    this.element = h('form', { class: 'composer', onsubmit: (event) => this.#submit(event) },
      h('label', { for: 'prompt', class: 'visually-hidden' }, 'Prompt'),
      this.#input,
      h('div', { class: 'composer-row' }, options, this.#button))
    this.#input.addEventListener('input', () => this.#fit())
    this.#input.addEventListener('keydown', (event) => this.#key(event))
    this.#update()
  }

  setBusy (busy) {
    this.#busy = busy
    this.#input.placeholder = busy ? 'Write a follow-up…' : 'Ask Claude to do something…'
    this.#update()
  }

  focus () {
    focusInput(this.#input)
    if (this.#input.value !== '') this.#fit()
  }

  /** Gives a prompt back that was not accepted, unless something else has been written since. */
  restore (text) {
    if (this.#input.value.trim() !== '') return
    this.#input.value = text
    this.#fit()
  }

  #key (event) {
    if (event.key !== 'Enter' || event.shiftKey || event.isComposing || event.keyCode === 229) return
    event.preventDefault()
    this.#send()
  }

  #submit (event) {
    event.preventDefault()
    if (this.#stops) this.onStop()
    else this.#send()
  }

  get #stops () {
    return this.#busy && this.#input.value.trim() === ''
  }

  #send () {
    const text = this.#input.value
    if (text.trim() === '') return
    this.#input.value = ''
    this.#fit()
    this.onSend(text)
  }

  #fit () {
    inThisTab.write(this.#draft, this.#input.value || undefined)
    this.#input.style.height = 'auto'
    this.#input.style.height = `${this.#input.scrollHeight}px`
    this.#update()
  }

  #update () {
    const label = this.#stops ? 'Stop' : this.#busy ? 'Send afterwards' : 'Send'
    if (this.#button.getAttribute('aria-label') !== label) {
      this.#button.replaceChildren(icon(this.#stops ? 'stop' : 'arrowUp'))
      this.#button.setAttribute('aria-label', label)
      this.#button.title = label
      this.#button.classList.toggle('stops', this.#stops)
    }
    this.#button.disabled = !this.#busy && this.#input.value.trim() === ''
  }
}
