import { getJson, paths, send } from '../lib/api.js'
import { announce, ask, h } from '../lib/dom.js'
import { roughly, shortId } from '../lib/format.js'
import { icon } from '../lib/icons.js'
import { button, notice } from './notice.js'

/** The first page: a new sandbox (7.1), or one that is running already. */
export class StartView {
  #list = h('div', { class: 'sandbox-list' })
  #problems = h('div')

  constructor ({ newSandbox, openSandbox }) {
    this.openSandbox = openSandbox
    this.element = h('div', { class: 'start' },
      h('section', { class: 'intro' },
        h('h1', { tabindex: '-1' }, 'Claude Code in a sandbox of its own'),
        h('p', { class: 'muted' }, 'Claude writes files and runs commands in an isolated machine. ' +
          'What it puts into the workspace is kept for the next one.'),
        button('New sandbox', newSandbox, { kind: 'primary large', symbol: 'plus' })),
      this.#problems,
      this.#list)
    this.onVisible = () => { if (document.visibilityState === 'visible') this.#load() }
  }

  shown () {
    document.addEventListener('visibilitychange', this.onVisible)
    this.timer = setInterval(() => this.#load(), 30_000)
    this.#load()
  }

  hidden () {
    document.removeEventListener('visibilitychange', this.onVisible)
    clearInterval(this.timer)
  }

  async #load () {
    try {
      const running = await listRunning()
      this.#problems.replaceChildren()
      this.#show(running)
    } catch (error) {
      this.#problems.replaceChildren(notice(error, { actions: [button('Try again', () => this.#load())], dismissible: false }))
    }
  }

  #show (sandboxes) {
    if (sandboxes.length === 0) return this.#list.replaceChildren()
    this.#list.replaceChildren(
      h('h2', {}, 'Running sandboxes'),
      h('ul', {}, sandboxes.map((sandbox) => this.#row(sandbox))))
  }

  #row (sandbox) {
    const { id, name, createdAt, expiresAt, volume } = sandbox
    const title = name || shortId(id)
    const facts = [
      `started ${roughly(Date.now() - Date.parse(createdAt))} ago`,
      expiresAt && `ends in ${roughly(Date.parse(expiresAt) - Date.now())}`,
      volume && `volume ${volume.name}`
    ].filter(Boolean).join(' · ')
    return h('li', { class: 'sandbox' },
      icon('box'),
      h('div', { class: 'sandbox-text' }, h('span', { class: 'mono', title: id }, title), h('span', { class: 'muted small' }, facts)),
      h('button', { type: 'button', class: 'button', 'aria-label': `End ${title}`, onclick: () => this.#end(sandbox) }, 'End'),
      h('button', {
        type: 'button', class: 'button strong', 'aria-label': `Continue with ${title}`, onclick: () => this.openSandbox(id)
      }, 'Continue'))
  }

  async #end ({ id, volume }) {
    const sure = await ask({
      title: 'End this sandbox?',
      text: volume ? `Its processes stop. Files on the volume “${volume.name}” are kept.` : 'Its processes stop and its files are lost.',
      action: 'End sandbox'
    })
    if (!sure) return
    try {
      await send('DELETE', paths.sandbox(id))
      announce('The sandbox has ended')
    } catch (error) {
      if (!error.sandboxEnded) this.#problems.replaceChildren(notice(error))
    }
    await this.#load()
  }
}

async function listRunning () {
  const running = []
  let cursor
  do {
    const query = new URLSearchParams({ limit: '100', ...(cursor && { cursor }) })
    const page = await getJson(`${paths.sandboxes}?${query}`)
    running.push(...page.sandboxes.filter(({ status }) => status === 'running'))
    cursor = page.nextCursor
  } while (cursor)
  return running
}
