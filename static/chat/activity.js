import { h } from '../lib/dom.js'
import { duration } from '../lib/format.js'

/** The line above the composer: what is going on, for how long, and how to stop it. It is not announced: it ticks. */
export class Activity {
  #word = h('span', { class: 'activity-word' })
  #elapsed = h('span', { class: 'muted' })
  #stop
  #timer
  #connection = 'connected'
  #text = ''

  constructor ({ onStop }) {
    this.#stop = h('button', { type: 'button', class: 'button small', onclick: onStop }, 'Stop ', h('kbd', {}, 'Esc'))
    this.element = h('div', { class: 'activity', hidden: true },
      h('span', { class: 'spinner' }), this.#word, this.#elapsed, this.#stop)
  }

  start () {
    const startedAt = Date.now()
    const tick = () => { this.#elapsed.textContent = duration(1000 * Math.floor((Date.now() - startedAt) / 1000)).replace('.0', '') }
    tick()
    clearInterval(this.#timer)
    this.#timer = setInterval(tick, 1000)
    this.#stop.disabled = false
    this.#connection = 'connected'
    this.show('Starting Claude')
    this.element.hidden = false
  }

  show (text) {
    this.#text = text
    this.#word.textContent = this.#connection === 'connected' ? `${text}…` : 'Connection lost, reconnecting…'
  }

  setConnection (state) {
    this.#connection = state
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
