import { h } from '../lib/dom.js'
import { approximateDuration, formatTime, shortId } from '../lib/format.js'
import { icon } from '../lib/icons.js'
import { words } from '../lib/words.js'

const expiryWarningMs = 5 * 60_000

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
    this.#end = h('button', {
      type: 'button', class: 'button small', 'aria-label': words.bar.endSession, onclick: onEnd
    }, endLabel())
    this.element = h('div', { class: 'sandbox-bar' },
      h('a', { class: 'quiet', href: '#', 'aria-label': words.common.allSandboxes }, icon('back')),
      this.#dot,
      title,
      h('span', { class: 'sandbox-bar-name', title: sandbox.id },
        h('span', { class: 'visually-hidden' }, words.bar.sandbox, ' '), sandbox.name || shortId(sandbox.id)),
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
    this.#dot.title = words.bar.connections[state]
    this.#dot.replaceChildren(h('span', { class: state === 'connected' ? 'visually-hidden' : '' }, words.bar.connections[state]))
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
      const duration = approximateDuration(left)
      this.#left.replaceChildren(...left > 0 ? byRoom(words.bar.endsIn(duration), duration) : [words.bar.expired])
      this.#left.title = words.bar.endsAt(formatTime(end))
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
    this.#left.textContent = words.bar.ended
    this.#left.classList.remove('soon')
    this.#dot.hidden = this.#end.hidden = true
  }

  close () {
    clearInterval(this.#timer)
  }
}

function endLabel () {
  return byRoom(words.bar.endSession, words.bar.end)
}

/** On phones there is only room for one word. */
function byRoom (long, short) {
  return [h('span', { class: 'wide-only' }, long), h('span', { class: 'narrow-only' }, short)]
}
