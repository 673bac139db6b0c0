import { asApiError, paths, send } from '../lib/api.js'
import { announce, confirmDialog, h } from '../lib/dom.js'
import { icon } from '../lib/icons.js'
import { tell } from '../lib/news.js'
import { words } from '../lib/words.js'
import { renameDialog } from './rename.js'
import { placeOf } from './row.js'

/** What one can do with a conversation of the list. */
export class RowMenu {
  #onChanged
  #onProblem
  #onDeleted
  #conversation
  element = h('div', { class: 'rail-menu', popover: 'auto', role: 'menu', onkeydown: (event) => this.#onKeydown(event) })

  constructor ({ onChanged, onProblem, onDeleted }) {
    this.#onProblem = onProblem
    this.#onChanged = onChanged
    this.#onDeleted = onDeleted
  }

  get isOpen () {
    return this.element.matches(':popover-open')
  }

  /** @param {HTMLElement} button beside which it opens */
  open (conversation, button) {
    this.#conversation = conversation
    this.element.replaceChildren(...conversation.live
      ? [
          this.#item('pencil', words.rail.rename, () => this.#rename()),
          this.#item('download', words.rail.exportMarkdown, () => this.#export('md')),
          this.#item('download', words.rail.exportJson, () => this.#export('json')),
          this.#item('trash', words.common.delete, () => this.#delete())
        ]
      : [this.#item('cross', words.rail.forget, () => this.#forget())])
    this.element.showPopover()
    const { left, right, top, bottom } = button.getBoundingClientRect()
    const { offsetWidth, offsetHeight } = this.element
    const below = bottom + offsetHeight < window.innerHeight
    this.element.style.left = words.dir === 'rtl'
      ? `${Math.min(left, window.innerWidth - offsetWidth - 8)}px`
      : `${Math.max(8, right - offsetWidth)}px`
    this.element.style.top = `${below ? bottom : Math.max(8, top - offsetHeight)}px`
    this.element.firstElementChild.focus()
  }

  #item (symbol, text, action) {
    const onclick = async () => {
      this.element.hidePopover()
      try {
        await action()
      } catch (error) {
        const { message, hint } = asApiError(error)
        const name = this.#conversation.title || words.common.untitled
        this.#onProblem({ message: words.common.about(name, message), hint })
      }
    }
    return h('button', { type: 'button', role: 'menuitem', class: 'rail-action', onclick }, icon(symbol), text)
  }

  #onKeydown (event) {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key]
    if (step === undefined) return
    event.preventDefault()
    const items = [...this.element.children]
    items.at((items.indexOf(document.activeElement) + step) % items.length).focus()
  }

  async #rename () {
    const { sandbox, sessionId, title } = this.#conversation
    const name = await renameDialog(title)
    if (name === undefined || name === title) return
    await send('PATCH', paths.conversation(sandbox.id, sessionId), { json: { title: name || null } })
    tell({ kind: 'changed', sandboxId: sandbox.id, sessionId, title: name || undefined })
    announce(words.rail.renamed)
    this.#onChanged()
  }

  async #export (format) {
    const { exportConversation } = await import('./export.js')
    await exportConversation(this.#conversation, format)
    announce(words.rail.exported)
  }

  async #delete () {
    const conversation = this.#conversation
    const { sandbox, sessionId, title } = conversation
    const confirmed = await confirmDialog({
      title: words.rail.deleteTitle,
      text: words.rail.deleteAbout({
        name: title || words.common.untitled, place: placeOf(conversation), s3: Boolean(sandbox.s3)
      }),
      action: words.common.delete
    })
    if (!confirmed) return
    await send('DELETE', paths.conversation(sandbox.id, sessionId))
    tell({ kind: 'deleted', sandboxId: sandbox.id, sessionId })
    this.#onDeleted(conversation)
  }

  #forget () {
    const { sandbox, sessionId } = this.#conversation
    tell({ kind: 'deleted', sandboxId: sandbox.id, sessionId })
    this.#onChanged()
  }
}
