import { h } from '../lib/dom.js'
import { formatElapsed } from '../lib/format.js'
import { words } from '../lib/words.js'

/** The line above the composer: the current activity, its duration and a stop button. Not announced, as it ticks. */
export class Activity {
  #label = h('span', { class: 'activity-label' })
  #elapsed = h('span', { class: 'muted' })
  #stop
  #timer
  #connected = true
  #text = ''

  constructor ({ onStop }) {
    this.#stop = h('button', { type: 'button', class: 'button small', onclick: onStop },
      words.activity.stop, ' ', h('kbd', {}, words.keys.names.Esc))
    this.element = h('div', { class: 'activity', hidden: true },
      h('span', { class: 'spinner' }), this.#label, this.#elapsed, this.#stop)
  }

  /** @param {number} startedAt in milliseconds */
  start (startedAt = Date.now()) {
    const tick = () => { this.#elapsed.textContent = formatElapsed(Math.max(0, Date.now() - startedAt)) }
    tick()
    clearInterval(this.#timer)
    this.#timer = setInterval(tick, 1000)
    this.#stop.disabled = false
    this.#connected = true
    this.show(words.activity.starting)
    this.element.hidden = false
  }

  /** @param {{waiting?: boolean}} options whether it is the user's turn */
  show (text, { waiting = false } = {}) {
    this.#text = text
    this.element.toggleAttribute('data-waiting', waiting)
    this.#label.textContent = this.#connected ? words.activity.goingOn(text) : words.activity.reconnecting
  }

  setConnected (connected) {
    this.#connected = connected
    this.show(this.#text, { waiting: this.element.hasAttribute('data-waiting') })
  }

  stopping () {
    this.#stop.disabled = true
    this.show(words.activity.stopping)
  }

  end () {
    clearInterval(this.#timer)
    this.element.hidden = true
  }
}
