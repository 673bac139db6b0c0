import { h } from '../lib/dom.js'
import { formatDuration } from '../lib/format.js'

/** The line above the composer: the current activity, its duration and a stop button. Not announced, as it ticks. */
export class Activity {
  #label = h('span', { class: 'activity-label' })
  #elapsed = h('span', { class: 'muted' })
  #stop
  #timer
  #connected = true
  #text = ''

  constructor ({ onStop }) {
    this.#stop = h('button', { type: 'button', class: 'button small', onclick: onStop }, 'Stop ', h('kbd', {}, 'Esc'))
    this.element = h('div', { class: 'activity', hidden: true },
      h('span', { class: 'spinner' }), this.#label, this.#elapsed, this.#stop)
  }

  /** @param {number} startedAt in milliseconds */
  start (startedAt = Date.now()) {
    const tick = () => {
      const seconds = Math.max(0, Math.floor((Date.now() - startedAt) / 1000))
      this.#elapsed.textContent = formatDuration(1000 * seconds).replace('.0', '')
    }
    tick()
    clearInterval(this.#timer)
    this.#timer = setInterval(tick, 1000)
    this.#stop.disabled = false
    this.#connected = true
    this.show('Starting Claude')
    this.element.hidden = false
  }

  /** @param {{waiting?: boolean}} options whether it is the user's turn */
  show (text, { waiting = false } = {}) {
    this.#text = text
    this.element.toggleAttribute('data-waiting', waiting)
    this.#label.textContent = this.#connected ? `${text}…` : 'Connection lost, reconnecting…'
  }

  setConnected (connected) {
    this.#connected = connected
    this.show(this.#text, { waiting: this.element.hasAttribute('data-waiting') })
  }

  stopping () {
    this.#stop.disabled = true
    this.show('Stopping')
  }

  end () {
    clearInterval(this.#timer)
    this.element.hidden = true
  }
}
