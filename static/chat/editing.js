import { h } from '../lib/dom.js'
import { words } from '../lib/words.js'
import { button } from '../views/notice.js'

/** Says that an earlier prompt is being edited, with a way out. */
export class Editing {
  element = h('div', { class: 'editing', role: 'status', hidden: true })
  #turn

  /** @param {() => void} onCancel called when the user would rather not */
  constructor (onCancel) {
    const cancel = () => {
      this.take()
      onCancel()
    }
    this.element.append(h('p', {}, words.turn.editing), button(words.common.cancel, cancel, { kind: 'small' }))
  }

  get isOn () {
    return this.#turn !== undefined
  }

  /** @param {import('./turn.js').Turn} turn whose prompt it is */
  start (turn) {
    this.take()
    this.#turn = turn
    turn.element.setAttribute('data-edited', '')
    this.element.hidden = false
  }

  /** It is over. @returns the turn whose prompt was edited, if one was */
  take () {
    const turn = this.#turn
    turn?.element.removeAttribute('data-edited')
    this.#turn = undefined
    this.element.hidden = true
    return turn
  }
}
