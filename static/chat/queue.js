import { h } from '../lib/dom.js'
import { icon } from '../lib/icons.js'
import { tabStorage } from '../lib/storage.js'
import { words } from '../lib/words.js'
import { button } from '../views/notice.js'

/**
 * Prompts to send after the current run, one by one. They survive a reload, but for their pictures, and are held after
 * a stopped run.
 */
export class Queue {
  #prompts = []
  /** The conversation that they belong to; undefined until it is known. */
  #conversation
  /** Those of other conversations. */
  #others = new Map()
  #held = false
  element = h('div', { class: 'queue', hidden: true, role: 'group', 'aria-label': words.queue.name })

  constructor ({ onSend, onEdit }) {
    this.onSend = onSend
    this.onEdit = onEdit
  }

  /** Shows the prompts of a conversation, in the place of another's. */
  open (conversation) {
    this.#others.set(this.#conversation, this.#prompts)
    this.#conversation = conversation
    this.#prompts = this.#others.get(conversation) ?? stored(conversation)
    this.#held = this.#prompts.length > 0
    this.#show()
  }

  /** What is in the queue belongs to this conversation, as is now known. */
  move (conversation) {
    if (conversation === this.#conversation) return
    if (this.#prompts.length === 0) return this.open(conversation)
    if (this.#conversation !== undefined) tabStorage.write(keyOf(this.#conversation), undefined)
    this.#conversation = conversation
    this.#show()
  }

  add (text, pictures) {
    this.#prompts.push({ text, pictures })
    this.#held = false
    this.#show()
  }

  /** Removes and returns the next prompt, as its text and pictures, unless the queue is held or empty. */
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
    if (prompt !== undefined) this.onSend(prompt.text, prompt.pictures)
  }

  #edit (index) {
    const { text, pictures } = this.#remove(index)
    this.onEdit(text, pictures)
  }

  #remove (index) {
    const [prompt] = this.#prompts.splice(index, 1)
    this.#show()
    return prompt
  }

  #show () {
    const key = this.#conversation === undefined ? undefined : keyOf(this.#conversation)
    const list = this.#prompts.map(({ text, pictures, lost }) => ({ text, pictures: lost || pictures.length }))
    if (key !== undefined) tabStorage.write(key, list.length > 0 ? list : undefined)
    this.element.hidden = this.#prompts.length === 0
    this.element.replaceChildren(
      h('div', { class: 'queue-head' },
        h('span', {}, this.#held ? words.queue.held : words.queue.waiting),
        this.#held && button(words.queue.sendNow, () => this.#release(), { kind: 'small' })),
      h('ol', {}, this.#prompts.map((prompt, index) => h('li', {},
        h('button', {
          type: 'button', class: 'queued', title: words.common.edit, dir: 'auto', onclick: () => this.#edit(index)
        }, labelOf(prompt)),
        h('button', {
          type: 'button', class: 'quiet', 'aria-label': words.queue.remove, onclick: () => this.#remove(index)
        }, icon('cross'))))))
  }
}

const keyOf = (conversation) => `queue.${conversation}`

/** Without its pictures, nothing is left of a prompt that had no text. */
function stored (conversation) {
  if (conversation === undefined) return []
  const prompts = tabStorage.read(keyOf(conversation), []).filter(({ text }) => text.trim() !== '')
  return prompts.map(({ text, pictures }) => ({ text, pictures: [], lost: pictures }))
}

function labelOf ({ text, pictures, lost }) {
  const count = lost || pictures.length
  if (count === 0) return text
  const label = lost ? words.queue.picturesLost(count) : words.queue.pictures(count)
  return text.trim() === '' ? label : words.queue.withPictures(text, label)
}
