import { h } from '../lib/dom.js'
import { roughly } from '../lib/format.js'
import { icon } from '../lib/icons.js'
import { closesAsMenu } from '../lib/menu.js'
import { listSessions } from './history.js'

/** Which conversation is shown, and the others that the volume keeps. */
export class SessionPicker {
  #title = h('span', { class: 'session-title' }, 'New conversation')
  #list = h('ul', {})
  #box
  #sandboxId

  constructor (sandboxId, { onNew, onOpen }) {
    this.#sandboxId = sandboxId
    this.onOpen = onOpen
    this.#box = h('details', { class: 'popover sessions', ontoggle: () => { if (this.#box.open) this.#load() } },
      h('summary', { class: 'quiet', title: 'Conversations' }, icon('chat'), this.#title),
      h('div', { class: 'popover-body' },
        h('button', { type: 'button', class: 'session-row new', onclick: () => this.#choose(onNew) },
          icon('plus'), h('span', {}, 'New conversation')),
        this.#list))
    closesAsMenu(this.#box)
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
    if (!this.#list.hasChildNodes()) this.#list.replaceChildren(h('li', { class: 'muted small' }, 'Looking for conversations…'))
    try {
      const sessions = await listSessions(this.#sandboxId)
      this.#list.replaceChildren(...sessions.length > 0
        ? sessions.map((session) => this.#row(session))
        : [h('li', { class: 'muted small' }, 'No earlier conversation on this volume.')])
    } catch (error) {
      this.#list.replaceChildren(h('li', { class: 'muted small' }, error.message))
    }
  }

  #row (session) {
    const age = roughly(Date.now() - Date.parse(session.updatedAt))
    return h('li', {}, h('button', {
      type: 'button', class: 'session-row', onclick: () => this.#choose(() => this.onOpen(session))
    },
    h('span', { class: 'session-row-title' }, session.title || 'Untitled'),
    h('span', { class: 'muted small' }, `${age} ago · ${session.messages} messages`)))
  }

  #choose (action) {
    this.close()
    action()
  }
}
