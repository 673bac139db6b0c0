import { h } from '../lib/dom.js'
import { approximateDuration } from '../lib/format.js'
import { icon } from '../lib/icons.js'
import { enableLightDismiss } from '../lib/light-dismiss.js'
import { listSessions } from './history.js'

/** A menu that shows the current conversation and lists the others on the volume. */
export class ConversationPicker {
  #title = h('h1', { class: 'conversation-title', dir: 'auto' }, 'New conversation')
  #list = h('ul', {})
  #box
  #sandboxId

  constructor (sandboxId, { onNew, onOpen }) {
    this.#sandboxId = sandboxId
    this.onOpen = onOpen
    this.#box = h('details', { class: 'popover conversations', ontoggle: () => { if (this.#box.open) this.#load() } },
      h('summary', { class: 'quiet', title: 'Conversations' }, this.#title, icon('chevron')),
      h('div', { class: 'popover-body' },
        h('button', { type: 'button', class: 'conversation-row new', onclick: () => this.#choose(onNew) },
          icon('plus'), h('span', {}, 'New conversation')),
        this.#list))
    enableLightDismiss(this.#box)
    this.element = this.#box
  }

  setTitle (title) {
    this.#title.textContent = title || 'New conversation'
    this.#title.title = title ?? ''
  }

  close () {
    this.#box.open = false
    this.#box.querySelector('summary').focus()
  }

  async #load () {
    if (!this.#list.hasChildNodes()) this.#list.replaceChildren(h('li', { class: 'muted small' }, 'Loading conversations…'))
    try {
      const sessions = await listSessions(this.#sandboxId)
      this.#list.replaceChildren(...sessions.length > 0
        ? sessions.map((session) => this.#row(session))
        : [h('li', { class: 'muted small' }, 'No earlier conversations.')])
    } catch (error) {
      this.#list.replaceChildren(h('li', { class: 'muted small' }, error.message))
    }
  }

  #row (session) {
    const age = approximateDuration(Date.now() - Date.parse(session.updatedAt))
    return h('li', {}, h('button', {
      type: 'button', class: 'conversation-row', onclick: () => this.#choose(() => this.onOpen(session))
    },
    h('span', { class: 'conversation-row-title', dir: 'auto' }, session.title || 'Untitled'),
    h('span', { class: 'muted small' }, `${age} ago · ${session.messages} messages`)))
  }

  #choose (action) {
    this.close()
    action()
  }
}
