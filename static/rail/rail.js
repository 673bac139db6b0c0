import { listRuns, listSessions } from '../chat/history.js'
import { announce, h } from '../lib/dom.js'
import { icon } from '../lib/icons.js'
import { onNews } from '../lib/news.js'
import { chatHash } from '../lib/routes.js'
import { listRunning } from '../lib/sandboxes.js'
import { browserStorage } from '../lib/storage.js'
import { words } from '../lib/words.js'
import { notice } from '../views/notice.js'
import { Known } from './known.js'
import { RowMenu } from './row-menu.js'
import { row } from './row.js'

const refreshMs = 30_000
/** What happens at the same time is looked at once. */
const togetherMs = 400

/** The conversations of all sandboxes, also of those that have ended: beside the view, or over it in a drawer. */
export class Rail {
  #known
  #menu
  #go
  #current = {}
  #host = document.getElementById('rail')
  #drawer
  #beside
  #timer
  #soon
  #stops = []
  /** Whether the service could not be asked. */
  #stale = false
  #loaded = false
  #search = h('input', {
    type: 'search',
    placeholder: words.rail.search,
    'aria-label': words.rail.search,
    autocomplete: 'off',
    oninput: () => this.#show()
  })

  #new = h('a', { class: 'button small rail-new' }, icon('plus'), words.rail.newConversation)
  #problems = h('div')
  #list = h('div', { class: 'rail-list' })
  #body = h('div', {
    class: 'rail-body',
    onkeydown: (event) => this.#onKeydown(event),
    // It makes way for what was chosen.
    onclick: ({ target }) => { if (target.closest('a')) this.#drawer?.close() }
  },
  h('div', { class: 'rail-head' }, this.#search, this.#new, this.#problems), this.#list)

  /** @param {{account: string, go: (hash: string) => void, beside: string}} options the last: when there is room */
  constructor ({ account, go, beside }) {
    this.#go = go
    this.#known = new Known(account)
    this.#menu = new RowMenu({
      onChanged: () => this.#show(),
      onProblem: (error) => this.#problems.replaceChildren(notice(error)),
      onDeleted: (conversation) => this.#leave(conversation)
    })
    this.#body.append(this.#menu.element)
    this.#beside = window.matchMedia(beside)
    this.#listen(this.#beside, 'change', () => this.#place())
    this.#listen(document, 'visibilitychange', () => { if (document.visibilityState === 'visible') this.refresh() })
    this.#listen(window, 'storage', () => {
      this.#known.read()
      this.#show()
    })
    this.#stops.push(onNews((news) => this.#hear(news)))
    this.#timer = setInterval(() => { if (document.visibilityState === 'visible') this.refresh() }, refreshMs)
    this.#place()
    this.#show()
    this.refresh()
  }

  /** What the page shows. */
  setCurrent ({ sandbox, sessionId, ended }) {
    this.#current = { sandboxId: sandbox?.id, sessionId }
    this.#problems.replaceChildren()
    this.#new.hidden = sandbox === undefined || ended
    if (sandbox !== undefined) this.#new.href = chatHash(sandbox.id, 'new')
    const isUnknown = () => sessionId !== undefined && this.#known.find(sandbox.id, sessionId) === undefined
    if (isUnknown()) this.#refreshSoon(isUnknown)
    this.#show()
  }

  /** Opens or closes it. */
  toggle () {
    if (!this.#beside.matches) return this.#drawer.open ? this.#drawer.close() : this.#drawer.showModal()
    const open = document.body.dataset.rail !== 'open'
    document.body.dataset.rail = open ? 'open' : 'closed'
    browserStorage.write('rail', open)
    if (open) this.#search.focus()
  }

  /** Opens it, if need be, to search in it. */
  search () {
    if (!this.#beside.matches ? !this.#drawer.open : document.body.dataset.rail !== 'open') this.toggle()
    this.#search.focus()
  }

  close () {
    for (const stop of this.#stops) stop()
    clearInterval(this.#timer)
    clearTimeout(this.#soon)
    this.#drawer?.remove()
    this.#host.replaceChildren()
  }

  /** Asks all running sandboxes. What one cannot say now is shown as it was. */
  async refresh () {
    try {
      const running = await listRunning()
      this.#known.update(await Promise.all(running.map(async (sandbox) => {
        const [sessions, runs] = await Promise.all([
          listSessions(sandbox.id).catch(() => undefined), listRuns(sandbox.id)
        ])
        return { sandbox, sessions, runs }
      })))
      this.#stale = false
    } catch {
      this.#stale = true
    }
    this.#loaded = true
    this.#show()
  }

  #refreshSoon (isNeeded = () => true) {
    clearTimeout(this.#soon)
    this.#soon = setTimeout(() => { if (isNeeded()) this.refresh() }, togetherMs)
  }

  /** The service is not asked for what is known already: a look would take time from a run that begins. */
  #hear ({ kind, sandboxId, sandbox, sessionId, title, state }) {
    const known = this.#known.find(sandboxId, sessionId)
    if (kind === 'ended') this.#known.end(sandboxId)
    else if (kind === 'deleted' && known !== undefined) this.#known.forget(known)
    else if (kind === 'changed' && title !== undefined) this.#known.change(sandboxId, sessionId, { title })
    else if (kind === 'state') this.#known.note(sandbox, { sessionId, title, updatedAt: new Date().toISOString() }, state)
    this.#show()
    if (kind === 'ended' || kind === 'changed') this.#refreshSoon()
  }

  #show () {
    const { sandboxId, sessionId } = this.#current
    if (sessionId !== undefined && document.visibilityState === 'visible') this.#known.see(sandboxId, sessionId)
    const wanted = this.#search.value.toLowerCase().split(/\s+/).filter((word) => word !== '')
    const found = this.#known.list.filter(({ title, sandbox }) => {
      const text = `${title} ${sandbox.name ?? ''} ${sandbox.volume?.name ?? ''}`.toLowerCase()
      return wanted.every((word) => text.includes(word))
    })
    const focused = this.#body.contains(document.activeElement) ? document.activeElement.dataset.key : undefined
    const scrolled = this.#list.scrollTop
    this.#list.replaceChildren(...[
      this.#stale && h('p', { class: 'rail-note muted small' }, words.rail.stale),
      this.#section(words.rail.running, found.filter(({ live }) => live)),
      this.#section(words.rail.ended, found.filter(({ live }) => !live)),
      found.length === 0 && h('p', { class: 'rail-note muted small' },
        !this.#loaded ? words.rail.loading : wanted.length > 0 ? words.rail.notFound : words.rail.none)
    ].filter(Boolean))
    this.#list.scrollTop = scrolled
    if (focused) this.#list.querySelector(`[data-key="${window.CSS.escape(focused)}"]`)?.focus()
  }

  #section (title, conversations) {
    if (conversations.length === 0) return
    const { sandboxId, sessionId } = this.#current
    return h('section', { 'aria-label': title },
      h('h2', { class: 'rail-heading' }, title),
      h('ul', {}, conversations.map((one) => row(one, {
        current: one.sessionId === sessionId && one.sandbox.id === sandboxId,
        onMenu: (button) => this.#menu.open(one, button)
      }))))
  }

  /** What was deleted is no longer shown, and nothing is lost of what was being written elsewhere. */
  #leave ({ sandbox, sessionId, live }) {
    announce(words.rail.deleted)
    const current = this.#current
    if (current.sandboxId === sandbox.id && current.sessionId === sessionId) this.#go(live ? chatHash(sandbox.id, 'new') : '')
    this.#show()
    this.#search.focus()
  }

  /** Escape here neither stops Claude nor closes a panel. */
  #onKeydown (event) {
    if (event.key !== 'Escape' || event.shiftKey) return
    event.stopPropagation()
    if (this.#menu.isOpen || !this.#beside.matches) return
    if (this.#search.value !== '') {
      this.#search.value = ''
      this.#show()
    } else document.getElementById('prompt')?.focus()
  }

  #place () {
    this.#drawer?.remove()
    this.#drawer = undefined
    if (this.#beside.matches) return this.#host.replaceChildren(this.#body)
    const close = h('button', {
      type: 'button', class: 'quiet', 'aria-label': words.common.close, onclick: () => this.#drawer.close()
    }, icon('cross'))
    this.#drawer = h('dialog', {
      class: 'drawer',
      'aria-label': words.page.conversations,
      onclick: ({ target }) => { if (target === this.#drawer) this.#drawer.close() }
    },
    h('div', { class: 'drawer-head' },
      h('h2', {}, words.page.conversations),
      h('a', { class: 'quiet drawer-start', href: '#', onclick: () => this.#drawer.close() }, words.common.allSandboxes),
      close),
    this.#body)
    document.body.append(this.#drawer)
  }

  #listen (target, kind, listener) {
    target.addEventListener(kind, listener)
    this.#stops.push(() => target.removeEventListener(kind, listener))
  }
}
