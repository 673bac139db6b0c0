import { h } from '../lib/dom.js'
import { roughly, shortId } from '../lib/format.js'
import { icon } from '../lib/icons.js'

const soon = 5 * 60_000

/** Which sandbox this is, how long it lives, and the way to end it. */
export class SessionBar {
  #left = h('span', { class: 'time-left' })
  #end
  #timer

  constructor (sandbox, { onEnd, onExpired }) {
    this.onExpired = onExpired
    this.#end = h('button', { type: 'button', class: 'button small', onclick: onEnd }, 'End session')
    this.element = h('div', { class: 'session-bar' },
      h('a', { class: 'quiet', href: '#', 'aria-label': 'All sandboxes' }, icon('back')),
      h('h1', { class: 'session-name', tabindex: '-1' },
        h('span', { class: 'session-word' }, 'Sandbox '),
        h('span', { class: 'mono', title: sandbox.id }, sandbox.name || shortId(sandbox.id))),
      this.#left,
      this.#end)
    this.setExpiry(sandbox.expiresAt)
  }

  setExpiry (expiresAt) {
    clearInterval(this.#timer)
    if (!expiresAt) return
    const end = Date.parse(expiresAt)
    const tick = () => {
      const left = end - Date.now()
      if (left <= 0) {
        clearInterval(this.#timer)
        this.onExpired()
      }
      this.#left.textContent = left > 0 ? `Ends in ${roughly(left)}` : 'Time is over'
      this.#left.title = `Ends at ${new Date(end).toLocaleTimeString()}`
      this.#left.classList.toggle('soon', left < soon)
    }
    this.#timer = setInterval(tick, 1000)
    tick()
  }

  ending (text) {
    this.#end.disabled = true
    this.#end.textContent = text
  }

  /** The attempt failed: it can be tried again. */
  reset () {
    this.#end.disabled = false
    this.#end.textContent = 'End session'
  }

  ended () {
    clearInterval(this.#timer)
    this.#left.textContent = 'Ended'
    this.#left.classList.remove('soon')
    this.#end.hidden = true
  }

  close () {
    clearInterval(this.#timer)
  }
}
