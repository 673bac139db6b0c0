import { h } from '../lib/dom.js'
import { roughly, shortId } from '../lib/format.js'
import { icon } from '../lib/icons.js'

const soon = 5 * 60_000

const connections = {
  connected: 'Connected',
  reconnecting: 'Reconnecting…',
  gap: 'Some output is missing'
}

/** Which sandbox this is, whether we hear from it, how long it lives, and the way to end it. */
export class SessionBar {
  #left = h('span', { class: 'time-left' })
  #dot = h('span', { class: 'connection' })
  #end
  #timer

  /** @param {Node[]} tools what else belongs into the bar */
  constructor (sandbox, { onEnd, onExpired, picker, tools }) {
    this.onExpired = onExpired
    this.#end = h('button', { type: 'button', class: 'button small', 'aria-label': 'End session', onclick: onEnd }, ...endLabel())
    this.element = h('div', { class: 'session-bar' },
      h('a', { class: 'quiet', href: '#', 'aria-label': 'All sandboxes' }, icon('back')),
      this.#dot,
      h('h1', { class: 'session-name', tabindex: '-1', title: sandbox.id },
        h('span', { class: 'visually-hidden' }, 'Sandbox '), sandbox.name || shortId(sandbox.id)),
      picker,
      h('span', { class: 'space' }),
      this.#left,
      tools,
      this.#end)
    this.setConnection('connected')
    this.setExpiry(sandbox.expiresAt)
  }

  /** @param {'connected' | 'reconnecting' | 'gap'} state */
  setConnection (state) {
    this.#dot.dataset.state = state
    this.#dot.title = connections[state]
    this.#dot.replaceChildren(h('span', { class: state === 'connected' ? 'visually-hidden' : '' }, connections[state]))
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
      this.#left.replaceChildren(...left > 0 ? [h('span', { class: 'wide-only' }, 'Ends in '), roughly(left)] : ['Time is over'])
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
    this.#end.replaceChildren(...endLabel())
  }

  ended () {
    clearInterval(this.#timer)
    this.#left.textContent = 'Ended'
    this.#left.classList.remove('soon')
    this.#dot.hidden = this.#end.hidden = true
  }

  close () {
    clearInterval(this.#timer)
  }
}

/** On a phone there is room for one word. */
function endLabel () {
  return ['End', h('span', { class: 'wide-only' }, ' session')]
}
