import { h } from '../lib/dom.js'
import { icon } from '../lib/icons.js'
import { tabStorage } from '../lib/storage.js'
import { words } from '../lib/words.js'

/** Shells in the sandbox, one in each tab. Each is a frame, as `static/terminal.html` says. */
export class TerminalsPanel {
  #sandboxId
  #tabs = []
  #count = 0
  #bar = h('div', { class: 'tabs', role: 'group', 'aria-label': words.terminal.shells })
  #frames = h('div', { class: 'terminal-frames' })

  /** @param {{onLeave: () => void, onSandboxEnded: () => void}} options */
  constructor (sandbox, { onLeave, onSandboxEnded }) {
    this.#sandboxId = sandbox.id
    this.element = h('div', { class: 'terminals' },
      h('div', { class: 'panel-tools' }, this.#bar,
        h('button', {
          type: 'button',
          class: 'quiet',
          'aria-label': words.terminal.newShell,
          title: words.terminal.newShell,
          onclick: () => this.#add()
        }, icon('plus'))),
      this.#frames,
      h('p', { class: 'muted small terminal-hint' },
        words.terminal.leaves([h('kbd', {}, words.keys.names.Shift), ' ', h('kbd', {}, words.keys.names.Esc)])))
    window.addEventListener('message', ({ source, origin, data }) => {
      const tab = this.#tabs.find(({ frame }) => frame.contentWindow === source)
      if (tab === undefined || origin !== location.origin || data?.source !== 'terminal') return
      if (data.type === 'leave') onLeave()
      else if (data.type === 'sandbox-ended') onSandboxEnded()
      else if (data.type === 'signed-out') document.dispatchEvent(new CustomEvent('signed-out'))
      else this.#remember(tab, data.type === 'open' ? data.terminalId : undefined)
    })
  }

  shown () {
    if (this.#tabs.length > 0) return
    const known = tabStorage.read(this.#key, [])
    for (const terminalId of known) this.#add(terminalId)
    if (known.length === 0) this.#add()
  }

  /** The shells end with the sandbox, or a while after the page has gone. */
  close () {
    for (const { frame } of this.#tabs) frame.remove()
    this.#tabs = []
  }

  get #key () {
    return `terminals.${this.#sandboxId}`
  }

  #add (terminalId) {
    const name = words.terminal.shell(++this.#count)
    const hash = new URLSearchParams({ sandbox: this.#sandboxId, ...terminalId && { terminal: terminalId } })
    const frame = h('iframe', { src: `terminal.html#${hash}`, title: name })
    const select = h('button', { type: 'button', class: 'tab', onclick: () => this.#select(tab) }, name)
    const close = h('button', {
      type: 'button',
      class: 'quiet',
      'aria-label': words.terminal.closeShell(name),
      title: words.terminal.closeShell(name),
      onclick: () => this.#remove(tab)
    }, icon('cross'))
    const tab = { frame, select, terminalId, element: h('span', { class: 'terminal-tab' }, select, close) }
    this.#tabs.push(tab)
    this.#bar.append(tab.element)
    this.#frames.append(frame)
    this.#select(tab)
  }

  #select (tab) {
    for (const other of this.#tabs) {
      other.frame.hidden = other !== tab
      other.select.setAttribute('aria-pressed', String(other === tab))
    }
    tab.frame.focus()
  }

  #remove (tab) {
    const index = this.#tabs.indexOf(tab)
    this.#tabs.splice(index, 1)
    // The shell is told before its connection goes.
    tab.frame.contentWindow.postMessage('end', location.origin)
    tab.frame.hidden = true
    setTimeout(() => tab.frame.remove(), 1000)
    tab.element.remove()
    this.#save()
    const next = this.#tabs[Math.min(index, this.#tabs.length - 1)]
    if (next) this.#select(next)
    else this.#add()
  }

  #remember (tab, terminalId) {
    tab.terminalId = terminalId
    this.#save()
  }

  #save () {
    const known = this.#tabs.map(({ terminalId }) => terminalId).filter((id) => id !== undefined)
    tabStorage.write(this.#key, known.length > 0 ? known : undefined)
  }
}
