import { confirmEnd, endSandbox } from '../chat/end-sandbox.js'
import { announce, h } from '../lib/dom.js'
import { approximateDuration, shortId } from '../lib/format.js'
import { icon } from '../lib/icons.js'
import { listRunning } from '../lib/sandboxes.js'
import { words } from '../lib/words.js'
import { button, notice } from './notice.js'
import { WorkspaceChoice } from './workspace-choice.js'

/** The start page: create a sandbox (7.1), or continue with a running one. */
export class StartView {
  #list = h('div', { class: 'sandbox-list' })
  #problems = h('div')
  #workspace

  constructor ({ newSandbox, onOptions, openSandbox }) {
    this.openSandbox = openSandbox
    this.#workspace = new WorkspaceChoice({ openSandbox })
    const create = () => {
      const spec = this.#workspace.take()
      if (spec) newSandbox(spec)
    }
    this.element = h('div', { class: 'start' },
      h('section', { class: 'intro' },
        h('h1', { tabindex: '-1' }, words.start.title),
        h('p', { class: 'muted' }, words.start.about),
        h('div', { class: 'actions' },
          button(words.common.newSandbox, create, { kind: 'primary large', symbol: 'plus' }),
          button(words.start.options, onOptions, { kind: 'large', symbol: 'sliders' })),
        this.#workspace.element),
      this.#problems,
      this.#list)
    this.onVisible = () => { if (document.visibilityState === 'visible') this.#load() }
  }

  shown () {
    document.addEventListener('visibilitychange', this.onVisible)
    this.timer = setInterval(() => this.#load(), 30_000)
    this.ticking = setInterval(() => this.#tick(), 1000)
    this.#load()
  }

  hidden () {
    document.removeEventListener('visibilitychange', this.onVisible)
    clearInterval(this.timer)
    clearInterval(this.ticking)
  }

  async #load () {
    try {
      const running = await listRunning()
      this.#problems.replaceChildren()
      this.#show(running)
      await this.#workspace.load(running)
    } catch (error) {
      const again = button(words.common.tryAgain, () => this.#load())
      this.#problems.replaceChildren(notice(error, { actions: [again], dismissible: false }))
    }
  }

  #show (sandboxes) {
    this.#list.setAttribute('aria-busy', 'false')
    const focused = document.activeElement?.dataset?.key
    this.#list.replaceChildren(
      h('h2', {}, words.start.yourSandboxes),
      sandboxes.length === 0
        ? h('p', { class: 'empty' }, icon('box'), words.start.none)
        : h('ul', {}, sandboxes.map((sandbox) => this.#row(sandbox))))
    this.#tick()
    if (focused) this.#list.querySelector(`[data-key="${window.CSS.escape(focused)}"]`)?.focus()
  }

  #row (sandbox) {
    const { id, name, createdAt, expiresAt, volume, tags } = sandbox
    const title = name || shortId(id)
    return h('li', { class: 'sandbox' },
      h('span', { class: 'state', title: words.start.running }, h('span', { class: 'visually-hidden' }, words.start.running)),
      h('div', { class: 'sandbox-text' },
        h('span', { class: 'sandbox-name', title: id }, title),
        h('span', { class: 'muted small' },
          volume && h('span', {}, words.start.volume(volume.name)),
          Object.entries(tags ?? {}).map(([key, value]) => h('span', { class: 'tag' }, `${key}: ${value}`)))),
      h('div', { class: 'sandbox-times small' },
        h('span', { class: 'muted', 'data-since': createdAt }),
        h('span', { 'data-until': expiresAt })),
      h('button', {
        type: 'button',
        class: 'button strong',
        'aria-label': words.start.continueWith(title),
        'data-key': `open-${id}`,
        onclick: () => this.openSandbox(id)
      }, words.start.continue),
      h('button', {
        type: 'button',
        class: 'quiet',
        'aria-label': words.start.endNamed(title),
        title: words.start.end,
        'data-key': `end-${id}`,
        onclick: () => this.#end(sandbox)
      }, icon('trash')))
  }

  /** Updates ages and countdowns between two requests. */
  #tick () {
    for (const element of this.#list.querySelectorAll('[data-since]')) {
      element.textContent = words.start.created(approximateDuration(Date.now() - Date.parse(element.dataset.since)))
    }
    for (const element of this.#list.querySelectorAll('[data-until]')) {
      const left = Date.parse(element.dataset.until) - Date.now()
      element.textContent = left > 0 ? words.start.endsIn(approximateDuration(left)) : words.start.expired
      element.classList.toggle('soon', left < 5 * 60_000)
    }
  }

  async #end (sandbox) {
    const { titleSandbox: title, actionSandbox: action } = words.endSandbox
    const confirmed = await confirmEnd(sandbox, { title, action })
    if (!confirmed) return
    try {
      await endSandbox(sandbox)
      announce(words.endSandbox.ended)
    } catch (error) {
      if (!error.sandboxEnded) this.#problems.replaceChildren(notice(error))
    }
    await this.#load()
  }
}
