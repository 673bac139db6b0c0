import { paths, send } from '../lib/api.js'
import { announce, h } from '../lib/dom.js'
import { approximateDuration } from '../lib/format.js'
import { icon } from '../lib/icons.js'
import { words } from '../lib/words.js'
import { notice } from '../views/notice.js'

/** Something that Claude asks and waits for, with the time that is left. Subclasses put their content into `body`. */
export class RequestCard {
  body = h('div', { class: 'permission-body' })
  /** What can be answered; in its place stands the answer afterwards. */
  form = h('form', { class: 'permission-form', novalidate: true })
  #left = h('span', { class: 'muted' })
  #timer
  #path
  #labels
  #onAnswered

  /**
   * @param {{id, toolUseId, expiresAt}} request the data of `permission.requested`
   * @param {{sandboxId, runId, onAnswered: () => void}} run `onAnswered` is called when an answer of this page counts
   * @param {{label, symbol, title, alert, summary, labels: {allow, deny, lapse}}} texts `alert` and `summary` are for
   * users who look elsewhere; `labels` say what has become of it
   */
  constructor ({ id, toolUseId, expiresAt }, { sandboxId, runId, onAnswered }, texts) {
    const { label, symbol, title, alert, summary, labels } = texts
    Object.assign(this, { toolUseId, alert, summary })
    this.#path = paths.permission(sandboxId, runId, id)
    this.#labels = labels
    this.#onAnswered = onAnswered
    this.element = h('section', { class: 'permission', 'data-state': 'open', tabindex: '-1', 'aria-label': label },
      h('div', { class: 'permission-head' }, icon(symbol), h('p', {}, title), this.#left),
      this.body, this.form)
    const tick = () => {
      const left = Date.parse(expiresAt) - Date.now()
      this.#left.textContent = left > 0 ? words.permission.left(approximateDuration(left)) : ''
    }
    tick()
    this.#timer = setInterval(tick, 1000)
  }

  get open () {
    return this.element.dataset.state === 'open'
  }

  /** @param {{decision: 'allow' | 'deny', by: string}} answer */
  resolve ({ decision, by: resolvedBy }) {
    this.close()
    this.#left.textContent = ''
    this.element.dataset.state = decision
    this.keepFocus()
    const outcome = this.labelOf(decision, resolvedBy)
    this.form.replaceChildren(h('p', { class: 'muted' }, icon(decision === 'allow' ? 'check' : 'cross'),
      ' ', words.permission.reasons[resolvedBy]?.(outcome) ?? outcome))
  }

  /** What has become of it, in a word or two. */
  labelOf (decision, resolvedBy) {
    return this.#labels[decision === 'deny' && resolvedBy !== 'user' ? 'lapse' : decision]
  }

  /** Of a card that does not fit into the view its beginning is read first, not its end. */
  show () {
    const { clientHeight } = this.element.closest('.scroller')
    if (this.element.offsetHeight > clientHeight) this.element.scrollIntoView({ block: 'start' })
  }

  /** Stops the countdown. */
  close () {
    clearInterval(this.#timer)
  }

  /** @param {{decision: 'allow' | 'deny'}} answer the body of the request @returns whether it counts */
  async send (answer) {
    this.element.querySelector('.notice')?.remove()
    this.keepFocus()
    const controls = [...this.form.elements].filter((control) => !control.disabled)
    for (const control of controls) control.disabled = true
    try {
      await send('POST', this.#path, { json: answer })
      announce(this.labelOf(answer.decision, 'user'))
      if (this.open) this.resolve({ decision: answer.decision, by: 'user' })
      this.#onAnswered()
      return true
    } catch (error) {
      if (this.open) {
        for (const control of controls) control.disabled = false
        this.element.append(notice(error))
      }
      return false
    }
  }

  /** The control in use is about to be disabled or removed: keeps the focus on the card for keyboard users. */
  keepFocus () {
    if (this.element.contains(document.activeElement)) this.element.focus()
  }
}

/** What the user may say with a denial. */
export function denialInput (label) {
  return h('input', {
    class: 'permission-reason', 'aria-label': label, placeholder: label, maxlength: '4000', autocomplete: 'off'
  })
}
