import { h } from '../lib/dom.js'
import { icon } from '../lib/icons.js'
import { tabStorage } from '../lib/storage.js'
import { button } from '../views/notice.js'

/** Prompts to send after the current run, one by one. They survive a reload, and are held after a stopped run. */
export class Queue {
  #prompts
  #key
  #held = false
  element = h('div', { class: 'queue', hidden: true, role: 'group', 'aria-label': 'Follow-ups' })

  constructor (sandboxId, { onSend, onEdit }) {
    this.onSend = onSend
    this.onEdit = onEdit
    this.#key = `queue.${sandboxId}`
    this.#prompts = tabStorage.read(this.#key, [])
    this.#held = this.#prompts.length > 0
    this.#show()
  }

  add (prompt) {
    this.#prompts.push(prompt)
    this.#held = false
    this.#show()
  }

  /** Removes and returns the next prompt, unless the queue is held or empty. */
  next () {
    if (this.#held) return
    const prompt = this.#prompts.shift()
    this.#show()
    return prompt
  }

  /** Sends nothing until the user confirms, as the follow-ups may no longer make sense. */
  hold () {
    this.#held = this.#prompts.length > 0
    this.#show()
  }

  #release () {
    this.#held = false
    const prompt = this.next()
    if (prompt !== undefined) this.onSend(prompt)
  }

  #remove (index) {
    const [prompt] = this.#prompts.splice(index, 1)
    this.#show()
    return prompt
  }

  #show () {
    tabStorage.write(this.#key, this.#prompts.length > 0 ? this.#prompts : undefined)
    this.element.hidden = this.#prompts.length === 0
    this.element.replaceChildren(
      h('div', { class: 'queue-head' },
        h('span', {}, this.#held ? 'Not sent yet' : 'Will be sent when Claude is done'),
        this.#held && button('Send now', () => this.#release(), { kind: 'small' })),
      h('ol', {}, this.#prompts.map((prompt, index) => h('li', {},
        h('button', {
          type: 'button', class: 'queued', title: 'Edit', dir: 'auto', onclick: () => this.onEdit(this.#remove(index))
        }, prompt),
        h('button', {
          type: 'button', class: 'quiet', 'aria-label': 'Remove', onclick: () => this.#remove(index)
        }, icon('cross'))))))
  }
}
