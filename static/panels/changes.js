import { h } from '../lib/dom.js'
import { words } from '../lib/words.js'
import { iconButton } from '../views/notice.js'
import { editsView } from './edits.js'
import { RepositoryView } from './repository.js'

const labels = {
  repository: words.changes.git, turn: words.changes.thisTurn, conversation: words.changes.thisConversation
}

/** What has changed: by git, where there is a repository, and by what Claude's tools have said that they did. */
export class ChangesPanel {
  #edits
  #repository
  #tabs
  #tab = 'repository'
  #list = h('div', { class: 'edits' })
  /** The files whose edits are open, by tab. */
  #opened = { turn: new Set(), conversation: new Set() }

  /** @param {{edits: () => object[][]}} options what Claude's tools have changed, turn by turn */
  constructor (sandbox, { edits }) {
    this.#edits = edits
    this.#repository = new RepositoryView(sandbox, { onNone: () => this.#select('conversation') })
    this.#tabs = Object.fromEntries(Object.entries(labels).map(([name, label]) => [name, h('button', {
      type: 'button', class: 'tab', 'aria-pressed': String(name === this.#tab), onclick: () => this.#select(name)
    }, label)]))
    this.element = h('div', { class: 'changes' },
      h('div', { class: 'panel-tools' },
        h('div', { class: 'tabs', role: 'group', 'aria-label': words.changes.which }, Object.values(this.#tabs)),
        iconButton('sync', words.common.refresh, () => this.shown())),
      this.#repository.element, this.#list)
  }

  async shown () {
    const git = this.#tab === 'repository'
    this.#repository.element.hidden = !git
    this.#list.hidden = git
    if (git) return await this.#repository.load()
    const turns = this.#edits()
    const [about, edits] = this.#tab === 'turn'
      ? [words.changes.editedInTurn, turns.at(-1) ?? []]
      : [words.changes.editedInConversation, turns.flat()]
    this.#list.replaceChildren(...editsView(edits, { about, opened: this.#opened[this.#tab] }))
  }

  #select (name) {
    this.#tab = name
    for (const [tab, element] of Object.entries(this.#tabs)) element.setAttribute('aria-pressed', String(tab === name))
    this.#tabs[name].focus()
    this.shown()
  }
}
