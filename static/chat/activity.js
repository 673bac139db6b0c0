import { h } from '../lib/dom.js'
import { duration } from '../lib/format.js'

/** The line above the composer: what is going on, for how long, and how to stop it. It is not announced: it ticks. */
export class Activity {
  #word = h('span', { class: 'activity-word' })
  #elapsed = h('span', { class: 'muted' })
  #stop
  #timer
  #connected = true
  #text = ''

  constructor ({ onStop }) {
    this.#stop = h('button', { type: 'button', class: 'button small', onclick: onStop }, 'Stop ', h('kbd', {}, 'Esc'))
    this.element = h('div', { class: 'activity', hidden: true },
      h('span', { class: 'spinner' }), this.#word, this.#elapsed, this.#stop)
  }

  /** @param {number} startedAt milliseconds */
  start (startedAt = Date.now()) {
    const tick = () => {
      const seconds = Math.max(0, Math.floor((Date.now() - startedAt) / 1000))
      this.#elapsed.textContent = duration(1000 * seconds).replace('.0', '')
    }
    tick()
    clearInterval(this.#timer)
    this.#timer = setInterval(tick, 1000)
    this.#stop.disabled = false
    this.#connected = true
    this.show('Starting Claude')
    this.element.hidden = false
  }

  show (text) {
    this.#text = text
    this.#word.textContent = this.#connected ? `${text}…` : 'Connection lost, reconnecting…'
  }

  setConnected (connected) {
    this.#connected = connected
    this.show(this.#text)
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
