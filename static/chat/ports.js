import { asApiError, getJson, paths, send } from '../lib/api.js'
import { announce, h } from '../lib/dom.js'
import { formatList } from '../lib/format.js'
import { icon } from '../lib/icons.js'
import { words } from '../lib/words.js'
import { notice } from '../views/notice.js'

/** A command's server takes a moment to start. */
const looksMs = [1000, 5000]
/** Looking is a command in the sandbox, and keeps it from being idle: as an open terminal does. */
const watchMs = 5000
const own = /^(localhost|127\.0\.0\.1|0\.0\.0\.0|\[::1?\])$/

/**
 * The ports on which programs in the sandbox listen, each with a button that opens it in a new tab. What runs there is
 * not to be trusted: it has an origin of its own, and never learns of this page.
 */
export class Ports {
  element = h('div', { class: 'ports', role: 'group', 'aria-label': words.run.ports, hidden: true })
  #sandboxId
  #ports = []
  #timers = []
  #watching
  #closed = false

  constructor (sandboxId) {
    this.#sandboxId = sandboxId
  }

  /** Something may have begun, or ceased, to listen. */
  look () {
    this.cancel()
    if (this.#closed) return
    this.#timers = looksMs.map((delay) => setTimeout(() => this.#list(), delay))
  }

  /** A run that has ended takes its servers along. */
  lookAgain () {
    if (this.#ports.length > 0) this.look()
  }

  /** Looks all the time, while the user has a terminal. */
  watch (isOn) {
    clearInterval(this.#watching)
    if (!isOn || this.#closed) return
    this.look()
    this.#watching = setInterval(() => { if (!document.hidden) this.#list() }, watchMs)
  }

  /** Follows links to the sandbox's own localhost, which is not the user's. */
  acceptLinks (element) {
    const follow = (event) => {
      const link = event.target.closest?.('a[href]')
      if (!link || !own.test(link.hostname) || link.origin === location.origin) return
      event.preventDefault()
      this.#open(Number(link.port) || (link.protocol === 'https:' ? 443 : 80), link.pathname + link.search + link.hash)
    }
    element.addEventListener('click', follow)
    // The middle button opens a tab, too.
    element.addEventListener('auxclick', (event) => { if (event.button === 1) follow(event) })
  }

  close () {
    this.#closed = true
    this.cancel()
    clearInterval(this.#watching)
    this.element.remove()
  }

  /** Nothing is looked at any more until something happens again, such as while the sandbox is being ended. */
  cancel () {
    this.#timers.forEach(clearTimeout)
  }

  async #list () {
    // Whatever is wrong is told where it matters: when a port is opened.
    const { ports } = await getJson(paths.ports(this.#sandboxId)).catch(() => ({ ports: this.#ports }))
    const isNew = ({ port }) => !this.#ports.some((known) => known.port === port)
    const added = ports.filter(isNew)
    if (added.length === 0 && ports.length === this.#ports.length) return
    this.#ports = ports
    this.element.replaceChildren(...ports.map(({ port }) => this.#button(port)))
    this.element.hidden = ports.length === 0
    if (added.length > 0) announce(words.run.listening(formatList(added.map(({ port }) => String(port)))))
  }

  #button (port) {
    return h('button', { type: 'button', class: 'button small', title: words.run.opensTab, onclick: () => this.#open(port) },
      icon('globe'), words.run.openPort(port))
  }

  /** The tab is opened at once: later, the browser would take it for a pop-up that nobody asked for. */
  async #open (port, path = '/') {
    this.element.querySelector('.notice')?.remove()
    const tab = window.open('about:blank', '_blank')
    try {
      if (!tab) throw new Error(words.run.tabRefused)
      tab.opener = null
      const { link } = await (await send('POST', paths.port(this.#sandboxId, port))).json()
      const { origin, searchParams } = new URL(link)
      // Not resolved: a path that begins with two slashes would lead elsewhere, with the token.
      const url = new URL(origin + path)
      for (const [name, value] of searchParams) url.searchParams.append(name, value)
      tab.location.replace(url)
    } catch (error) {
      tab?.close()
      this.element.append(notice(asApiError(error)))
      this.element.hidden = false
    }
  }
}
