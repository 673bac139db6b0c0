import { h } from '../lib/dom.js'
import { icon } from '../lib/icons.js'
import { words } from '../lib/words.js'

/** The panels beside the chat, one at a time. A panel is created when it is first opened. */
export class Panels {
  #kinds
  #created = new Map()
  #buttons = new Map()
  #body = h('div', { class: 'panel-body' })
  #title = h('h2', { id: 'panel-title', tabindex: '-1' })
  #open
  #onToggle

  /**
   * @param {{since: () => string, edits: () => object[][], onLeave: () => void, onSandboxEnded: () => void,
   *   onToggle: (open?: string) => void}} options
   * the time since when changed files are shown; what Claude's tools have changed, turn by turn; what to do when the
   * keyboard leaves a terminal, when one finds that the sandbox has ended, and when a panel is opened or closed
   */
  constructor (sandbox, { since, edits, onLeave, onSandboxEnded, onToggle }) {
    this.#onToggle = onToggle
    this.#kinds = {
      files: {
        title: words.files.title,
        symbol: 'folder',
        create: async () => new (await import('./files.js')).FilesPanel(sandbox, { since })
      },
      changes: {
        title: words.common.changes,
        symbol: 'branch',
        create: async () => new (await import('./changes.js')).ChangesPanel(sandbox, { edits })
      },
      terminal: {
        title: words.terminal.title,
        symbol: 'terminal',
        create: async () => new (await import('./terminals.js')).TerminalsPanel(sandbox, { onLeave, onSandboxEnded })
      },
      ...(sandbox.s3 && {
        sync: {
          title: words.sync.title,
          symbol: 'sync',
          create: async () => new (await import('./sync.js')).SyncPanel(sandbox)
        }
      })
    }
    this.element = h('aside', { class: 'panel', hidden: true, 'aria-labelledby': 'panel-title' },
      h('div', { class: 'panel-head' }, this.#title,
        h('button', {
          type: 'button', class: 'quiet', 'aria-label': words.common.close, onclick: () => this.toggle(this.#open)
        }, icon('cross'))),
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

  async toggle (name) {
    const previous = this.#open
    this.#open = name === previous ? undefined : name
    this.element.hidden = this.#open === undefined
    this.#onToggle(this.#open)
    for (const [key, button] of this.#buttons) button.setAttribute('aria-expanded', String(key === this.#open))
    if (this.#open === undefined) return this.#buttons.get(previous)?.focus()
    this.#title.textContent = this.#kinds[name].title
    this.element.dataset.kind = name
    this.#title.focus()
    await this.#show(name)
  }

  /** Panels stay in the document: a terminal's frame would start again when it is put back. */
  async #show (name) {
    const kind = this.#kinds[name]
    const panel = await (kind.created ??= kind.create())
    if (!this.#created.has(name)) {
      this.#created.set(name, panel)
      this.#body.append(panel.element)
    }
    for (const [key, { element }] of this.#created) element.hidden = key !== this.#open
    if (this.#open === name) panel.shown()
  }

  /** Closes the panel that has the focus. @returns whether there was one */
  closeOnEscape () {
    if (this.#open === undefined || !this.hasFocus) return false
    this.toggle(this.#open)
    return true
  }

  /** Reloads the open panel, as something may have changed in the sandbox. */
  refresh () {
    this.#created.get(this.#open)?.shown()
  }

  close () {
    if (this.#open !== undefined) this.toggle(this.#open)
    for (const button of this.#buttons.values()) button.hidden = true
    for (const panel of this.#created.values()) panel.close?.()
  }
}
