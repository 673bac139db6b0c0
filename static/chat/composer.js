import { announce, focusInput, h } from '../lib/dom.js'
import { icon } from '../lib/icons.js'

/**
 * Where prompts are written. Enter sends, Shift+Enter makes a new line, and an input method's Enter is its own.
 * While a run is active the text can be prepared, and the button stops the run.
 */
export class Composer {
  #input = h('textarea', {
    id: 'prompt', rows: '1', placeholder: 'Ask Claude to do something…', autocomplete: 'off', enterkeyhint: 'send'
  })

  #button = h('button', { type: 'submit', class: 'send' })
  #busy = false

  constructor ({ onSend, onStop }) {
    this.onSend = onSend
    this.onStop = onStop
    this.element = h('form', { class: 'composer', onsubmit: (event) => this.#submit(event) },
      h('label', { for: 'prompt', class: 'visually-hidden' }, 'Prompt'),
      this.#input,
      this.#button)
    this.#input.addEventListener('input', () => this.#fit())
    this.#input.addEventListener('keydown', (event) => this.#key(event))
    this.setBusy(false)
  }

  setBusy (busy) {
    this.#busy = busy
    this.#button.replaceChildren(icon(busy ? 'stop' : 'arrowUp'))
    this.#button.setAttribute('aria-label', busy ? 'Stop' : 'Send')
    this.#button.classList.toggle('stops', busy)
    this.#update()
  }

  focus () {
    focusInput(this.#input)
  }

  /** Gives a prompt back that was not accepted, unless something else has been written since. */
  restore (text) {
    if (this.#input.value !== '') return
    this.#input.value = text
    this.#fit()
  }

  #key (event) {
    if (event.key !== 'Enter' || event.shiftKey || event.isComposing || event.keyCode === 229) return
    event.preventDefault()
    if (this.#busy) announce('Claude is still working. Press Escape to stop it.')
    else this.#send()
  }

  #submit (event) {
    event.preventDefault()
    if (this.#busy) this.onStop()
    else this.#send()
  }

  #send () {
    const text = this.#input.value
    if (text.trim() === '') return
    this.#input.value = ''
    this.#fit()
    this.onSend(text)
  }

  #fit () {
    this.#input.style.height = 'auto'
    this.#input.style.height = `${this.#input.scrollHeight}px`
    this.#update()
  }

  #update () {
    this.#button.disabled = !this.#busy && this.#input.value.trim() === ''
  }
}
