import { h } from '../lib/dom.js'
import { icon } from '../lib/icons.js'
import { FilesPanel } from './files.js'
import { SyncPanel } from './sync.js'

/** What opens beside the chat: one panel at a time, made when it is first asked for. */
export class Panels {
  #kinds
  #made = new Map()
  #buttons = new Map()
  #body = h('div', { class: 'panel-body' })
  #title = h('h2', { id: 'panel-title', tabindex: '-1' })
  #open

  /** @param {{since: () => string}} options when the changes that are shown begin */
  constructor (sandbox, { since }) {
    this.#kinds = {
      files: { title: 'Files', symbol: 'folder', make: () => new FilesPanel(sandbox, { since }) },
      ...(sandbox.s3 && { sync: { title: 'Sync', symbol: 'sync', make: () => new SyncPanel(sandbox) } })
    }
    this.element = h('aside', { class: 'panel', hidden: true, 'aria-labelledby': 'panel-title' },
      h('div', { class: 'panel-head' }, this.#title,
        h('button', { type: 'button', class: 'quiet', 'aria-label': 'Close', onclick: () => this.toggle(this.#open) },
          icon('cross'))),
      this.#body)
    for (const [name, { title, symbol }] of Object.entries(this.#kinds)) {
      this.#buttons.set(name, h('button', {
        type: 'button', class: 'button small tool-button', 'aria-label': title, 'aria-expanded': 'false', onclick: () => this.toggle(name)
      }, icon(symbol), h('span', {}, title)))
    }
  }

  get buttons () {
    return [...this.#buttons.values()]
  }

  get hasFocus () {
    return this.element.contains(document.activeElement)
  }

  toggle (name) {
    const before = this.#open
    this.#open = name === before ? undefined : name
    this.element.hidden = this.#open === undefined
    for (const [one, button] of this.#buttons) button.setAttribute('aria-expanded', String(one === this.#open))
    if (this.#open === undefined) return this.#buttons.get(before)?.focus()
    const { title, make } = this.#kinds[name]
    if (!this.#made.has(name)) this.#made.set(name, make())
    this.#title.textContent = title
    this.#body.replaceChildren(this.#made.get(name).element)
    this.#made.get(name).shown()
    this.#title.focus()
  }

  /** Escape belongs to the panel while one works in it. @returns whether it did */
  closeOnEscape () {
    if (this.#open === undefined || !this.hasFocus) return false
    this.toggle(this.#open)
    return true
  }

  /** Something may have changed in the sandbox. */
  changed () {
    this.#made.get(this.#open)?.shown()
  }

  close () {
    if (this.#open !== undefined) this.toggle(this.#open)
    for (const button of this.#buttons.values()) button.hidden = true
  }
}
