import { h } from '../lib/dom.js'
import { icon } from '../lib/icons.js'
import { inThisTab } from '../lib/remember.js'
import { button } from '../views/notice.js'

/** Prompts that wait for the run to end. They survive a reload; they are sent one by one unless a run was stopped. */
export class Queue {
  #prompts
  #key
  #held = false
  element = h('div', { class: 'queue', hidden: true, role: 'group', 'aria-label': 'Follow-ups' })

  constructor (sandboxId, { onSend, onEdit }) {
    this.onSend = onSend
    this.onEdit = onEdit
    this.#key = `queue.${sandboxId}`
    this.#prompts = inThisTab.read(this.#key, [])
    this.#held = this.#prompts.length > 0
    this.#show()
  }

  add (prompt) {
    this.#prompts.push(prompt)
    this.#held = false
    this.#show()
  }

  /** The next one, when there is one and nothing holds it back. */
  next () {
    if (this.#held) return
    const prompt = this.#prompts.shift()
    this.#show()
    return prompt
  }

  /** Nothing is sent until somebody says so: the plan may have changed. */
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
    inThisTab.write(this.#key, this.#prompts.length > 0 ? this.#prompts : undefined)
    this.element.hidden = this.#prompts.length === 0
    this.element.replaceChildren(
      h('div', { class: 'queue-head' },
        h('span', {}, this.#held ? 'Not sent yet' : 'Sent when Claude is done'),
        this.#held && button('Send now', () => this.#release(), { kind: 'small' })),
      h('ol', {}, this.#prompts.map((prompt, index) => h('li', {},
        h('button', {
          type: 'button', class: 'queued', title: 'Edit', onclick: () => this.onEdit(this.#remove(index))
        }, prompt),
        h('button', {
          type: 'button', class: 'quiet', 'aria-label': 'Remove', onclick: () => this.#remove(index)
        }, icon('cross'))))))
  }
}
