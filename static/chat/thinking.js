import { h } from '../lib/dom.js'
import { words } from '../lib/words.js'

/** Claude's thinking, collapsed. New text is appended without replacing what is there. */
export class Thinking {
  #text = h('p', { dir: 'auto' })
  #label = h('summary', {}, words.turn.thinking)
  element = h('details', { class: 'thinking' }, this.#label, this.#text)

  append (text) {
    this.#text.append(text)
  }

  finish (text = this.#text.textContent) {
    this.#label.textContent = words.turn.thoughts
    this.#text.textContent = text
    if (text.trim() === '') this.element.remove()
  }

  remove () {
    this.element.remove()
  }
}
