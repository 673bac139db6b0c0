import { announce, h } from '../lib/dom.js'
import { words } from '../lib/words.js'

const mostShown = 50

/**
 * A list above the prompt's input with what may be meant by the word at the caret: a combobox whose focus stays in the
 * input. Sources know the word and what to offer for it.
 */
export class Suggestions {
  #input
  #sources
  #options = []
  #active = 0
  #source
  /** Counts what was looked for: a late answer must not replace a newer one. */
  #asked = 0
  /** Where the word begins for which the user has closed the list. */
  #dismissed
  #list = h('div', {
    id: 'suggestions',
    class: 'suggestions',
    role: 'listbox',
    hidden: true,
    // The focus stays in the input, also on a touch screen.
    onmousedown: (event) => event.preventDefault()
  })

  /**
   * @typedef {object} Source
   * @property {string} label
   * @property {(before: string) => {start: number, word: string} | undefined} wordAt in the text before the caret
   * @property {(word: string) => Promise<{text: string, detail?: string, insert: string}[]>} find
   *
   * @param {HTMLTextAreaElement} input its parent gets the list
   * @param {Source[]} sources
   */
  constructor (input, sources) {
    this.#input = input
    this.#sources = sources
    input.before(this.#list)
    input.addEventListener('blur', () => this.close())
    input.addEventListener('click', () => this.update())
  }

  /** Shows what fits the word at the caret, or nothing. */
  async update () {
    const asked = ++this.#asked
    const place = this.#place
    if (place === undefined || place.start !== this.#dismissed) this.#dismissed = undefined
    if (place === undefined || place.start === this.#dismissed) return this.close()
    const found = await place.source.find(place.word).catch(() => [])
    if (asked !== this.#asked) return
    if (found.length === 0) return this.close()
    this.#source = place.source
    this.#show(found.slice(0, mostShown))
  }

  /** @returns whether the key was for the list */
  onKeydown (event) {
    if (this.#list.hidden || event.isComposing || event.ctrlKey || event.metaKey || event.altKey) return false
    const count = this.#options.length
    if (event.key === 'ArrowDown') this.#activate((this.#active + 1) % count)
    else if (event.key === 'ArrowUp') this.#activate((this.#active + count - 1) % count)
    else if (event.key === 'Escape' && !event.shiftKey) this.#dismiss()
    else if (['Enter', 'Tab'].includes(event.key) && !event.shiftKey) {
      const whole = this.#place?.word === this.#options[this.#active].text
      if (event.key === 'Enter' && whole) {
        // There is nothing to complete: it is to be sent.
        this.close()
        return false
      }
      this.#choose(this.#active)
    } else return false
    event.preventDefault()
    // Escape would stop Claude.
    event.stopPropagation()
    return true
  }

  close () {
    this.#asked++
    if (this.#list.hidden) return
    this.#list.hidden = true
    this.#list.replaceChildren()
    this.#options = []
    for (const name of ['role', 'aria-expanded', 'aria-controls', 'aria-autocomplete', 'aria-activedescendant']) {
      this.#input.removeAttribute(name)
    }
  }

  get #place () {
    const { value, selectionStart, selectionEnd } = this.#input
    if (selectionStart !== selectionEnd) return
    const before = value.slice(0, selectionStart)
    for (const source of this.#sources) {
      const place = source.wordAt(before)
      if (place !== undefined) return { ...place, source }
    }
  }

  #show (options) {
    const { label } = this.#source
    this.#options = options
    this.#list.setAttribute('aria-label', label)
    this.#list.replaceChildren(...options.map(({ text, detail }, index) => h('div', {
      id: `suggestion-${index}`, class: 'suggestion', role: 'option', 'aria-selected': 'false', onclick: () => this.#choose(index)
    }, h('span', { class: 'suggestion-text', dir: 'auto' }, text), detail && h('span', { class: 'muted small' }, detail))))
    this.#list.hidden = false
    this.#input.setAttribute('role', 'combobox')
    this.#input.setAttribute('aria-expanded', 'true')
    this.#input.setAttribute('aria-controls', this.#list.id)
    this.#input.setAttribute('aria-autocomplete', 'list')
    this.#activate(0)
    announce(words.composer.suggestions(label, options.length))
  }

  #activate (index) {
    this.#list.children[this.#active]?.setAttribute('aria-selected', 'false')
    this.#active = index
    const option = this.#list.children[index]
    option.setAttribute('aria-selected', 'true')
    option.scrollIntoView({ block: 'nearest' })
    this.#input.setAttribute('aria-activedescendant', option.id)
  }

  #dismiss () {
    this.#dismissed = this.#place?.start
    this.close()
  }

  #choose (index) {
    const place = this.#place
    const { insert } = this.#options[index]
    this.close()
    if (place === undefined) return
    this.#input.setRangeText(insert, place.start, this.#input.selectionEnd, 'end')
    this.#input.dispatchEvent(new Event('input', { bubbles: true }))
  }
}
