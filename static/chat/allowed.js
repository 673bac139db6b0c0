import { asApiError, getJson, paths, send } from '../lib/api.js'
import { h } from '../lib/dom.js'
import { icon } from '../lib/icons.js'
import { words } from '../lib/words.js'
import { notice } from '../views/notice.js'

/** What Claude may do in this workspace without asking, as it was remembered. Each can be taken back. */
export class AllowedRules {
  element = h('div', { class: 'allowed', role: 'group', 'aria-label': words.options.allowed, hidden: true })
  #path

  constructor (sandboxId) {
    this.#path = paths.permissions(sandboxId)
  }

  /** Looks again. A run may have been told to remember more. */
  async refresh () {
    await this.#change(async () => await getJson(this.#path))
  }

  async #remove (rule) {
    await this.#change(async () => {
      const { allow } = await getJson(this.#path)
      return await (await send('PUT', this.#path, { json: { allow: allow.filter((other) => other !== rule) } })).json()
    })
  }

  async #change (change) {
    try {
      this.#show((await change()).allow)
    } catch (error) {
      this.element.replaceChildren(notice(asApiError(error)))
      this.element.hidden = false
    }
  }

  #show (rules) {
    const hadFocus = this.element.contains(document.activeElement)
    this.element.replaceChildren(
      h('p', { class: 'label' }, words.options.allowed),
      h('ul', {}, rules.map((rule) => h('li', {},
        h('code', { dir: 'ltr' }, rule),
        h('button', {
          type: 'button', class: 'quiet', 'aria-label': words.options.disallow(rule), onclick: () => this.#remove(rule)
        }, icon('cross'))))))
    this.element.hidden = rules.length === 0
    if (hadFocus) (this.element.querySelector('button') ?? this.element.closest('details')?.querySelector('summary'))?.focus()
  }
}
