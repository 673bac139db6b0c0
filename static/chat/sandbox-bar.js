import { h } from '../lib/dom.js'
import { approximateDuration, shortId } from '../lib/format.js'
import { icon } from '../lib/icons.js'

const expiryWarningMs = 5 * 60_000

const connections = {
  connected: 'Connected',
  reconnecting: 'Reconnecting…',
  gap: 'Some output is missing'
}

/**
 * The bar of a chat in the header of the page: the conversation, the sandbox's name, connection state and time left,
 * and the button that ends it.
 */
export class SandboxBar {
  #left = h('span', { class: 'time-left' })
  #dot = h('span', { class: 'connection' })
  #end
  #timer

  /** @param {{title: Node, tools: Node[]}} options the name of the conversation, and further buttons in the bar */
  constructor (sandbox, { onEnd, onExpired, title, tools }) {
    this.onExpired = onExpired
    this.#end = h('button', { type: 'button', class: 'button small', 'aria-label': 'End session', onclick: onEnd }, ...endLabel())
    this.element = h('div', { class: 'sandbox-bar' },
      h('a', { class: 'quiet', href: '#', 'aria-label': 'All sandboxes' }, icon('back')),
      this.#dot,
      title,
      h('span', { class: 'sandbox-bar-name', title: sandbox.id },
        h('span', { class: 'visually-hidden' }, 'Sandbox '), sandbox.name || shortId(sandbox.id)),
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
      this.#left.replaceChildren(...left > 0 ? [h('span', { class: 'wide-only' }, 'Ends in '), approximateDuration(left)] : ['Expired'])
      this.#left.title = `Ends at ${new Date(end).toLocaleTimeString()}`
      this.#left.classList.toggle('soon', left < expiryWarningMs)
    }
    this.#timer = setInterval(tick, 1000)
    tick()
  }

  setEnding (text) {
    this.#end.disabled = true
    this.#end.textContent = text
  }

  /** Ending failed and may be tried again. */
  reset () {
    this.#end.disabled = false
    this.#end.replaceChildren(...endLabel())
  }

  setEnded () {
    clearInterval(this.#timer)
    this.#left.textContent = 'Ended'
    this.#left.classList.remove('soon')
    this.#dot.hidden = this.#end.hidden = true
  }

  close () {
    clearInterval(this.#timer)
  }
}

/** On phones there is only room for one word. */
function endLabel () {
  return ['End', h('span', { class: 'wide-only' }, ' session')]
}
