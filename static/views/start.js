import { confirmEnd, endSandbox } from '../chat/end-sandbox.js'
import { announce, h } from '../lib/dom.js'
import { approximateDuration, shortId } from '../lib/format.js'
import { icon } from '../lib/icons.js'
import { listRunning } from '../lib/sandboxes.js'
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
        h('h1', { tabindex: '-1' }, 'Claude Code in a sandbox of its own'),
        h('p', { class: 'muted' }, 'Claude writes files and runs commands in an isolated machine. ' +
          'Your workspace is kept for the next sandbox.'),
        h('div', { class: 'actions' },
          button('New sandbox', create, { kind: 'primary large', symbol: 'plus' }),
          button('Options', onOptions, { kind: 'large', symbol: 'sliders' })),
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
      this.#problems.replaceChildren(notice(error, { actions: [button('Try again', () => this.#load())], dismissible: false }))
    }
  }

  #show (sandboxes) {
    this.#list.setAttribute('aria-busy', 'false')
    const focused = document.activeElement?.dataset?.key
    this.#list.replaceChildren(
      h('h2', {}, 'Your sandboxes'),
      sandboxes.length === 0
        ? h('p', { class: 'empty' }, icon('box'), 'No sandbox is running. A new one takes a few seconds.')
        : h('ul', {}, sandboxes.map((sandbox) => this.#row(sandbox))))
    this.#tick()
    if (focused) this.#list.querySelector(`[data-key="${window.CSS.escape(focused)}"]`)?.focus()
  }

  #row (sandbox) {
    const { id, name, createdAt, expiresAt, volume, tags } = sandbox
    const title = name || shortId(id)
    return h('li', { class: 'sandbox' },
      h('span', { class: 'state', title: 'Running' }, h('span', { class: 'visually-hidden' }, 'Running')),
      h('div', { class: 'sandbox-text' },
        h('span', { class: 'sandbox-name', title: id }, title),
        h('span', { class: 'muted small' },
          volume && h('span', {}, `Volume ${volume.name}`),
          Object.entries(tags ?? {}).map(([key, value]) => h('span', { class: 'tag' }, `${key}: ${value}`)))),
      h('div', { class: 'sandbox-times small' },
        h('span', { class: 'muted', 'data-since': createdAt }),
        h('span', { 'data-until': expiresAt })),
      h('button', {
        type: 'button', class: 'button strong', 'aria-label': `Continue with ${title}`, 'data-key': `open-${id}`, onclick: () => this.openSandbox(id)
      }, 'Continue'),
      h('button', {
        type: 'button', class: 'quiet', 'aria-label': `End ${title}`, title: 'End', 'data-key': `end-${id}`, onclick: () => this.#end(sandbox)
      }, icon('trash')))
  }

  /** Updates ages and countdowns between two requests. */
  #tick () {
    for (const element of this.#list.querySelectorAll('[data-since]')) {
      element.textContent = `created ${approximateDuration(Date.now() - Date.parse(element.dataset.since))} ago`
    }
    for (const element of this.#list.querySelectorAll('[data-until]')) {
      const left = Date.parse(element.dataset.until) - Date.now()
      element.textContent = left > 0 ? `ends in ${approximateDuration(left)}` : 'expired'
      element.classList.toggle('soon', left < 5 * 60_000)
    }
  }

  async #end (sandbox) {
    const confirmed = await confirmEnd(sandbox, { title: 'End this sandbox?', action: 'End sandbox' })
    if (!confirmed) return
    try {
      await endSandbox(sandbox)
      announce('The sandbox has ended')
    } catch (error) {
      if (!error.sandboxEnded) this.#problems.replaceChildren(notice(error))
    }
    await this.#load()
  }
}
