import { paths, send } from '../lib/api.js'
import { announce, h } from '../lib/dom.js'
import { approximateDuration } from '../lib/format.js'
import { icon } from '../lib/icons.js'
import { codeBlock, highlight } from '../markdown/code.js'
import { button, notice } from '../views/notice.js'
import { diffView } from './diff.js'
import { describeTool } from './tool-kinds.js'

const reasons = {
  deadline: ', because there was no answer in time',
  run_end: ', because the run ended',
  claude: ', because Claude withdrew the request'
}

/** Claude's request to use a tool. Without an answer in time it is denied. */
export class PermissionCard {
  #actions = h('form', { class: 'actions' })
  #reason = h('input', {
    class: 'permission-reason', 'aria-label': 'Reason for denying', placeholder: 'Reason for denying', maxlength: '900', autocomplete: 'off'
  })

  #left = h('span', { class: 'muted' })
  #timer
  #path

  /** @param {{id, toolName, input, expiresAt}} request the data of `permission.requested` */
  constructor ({ id, toolName, input, expiresAt }, { sandboxId, runId, workdir }) {
    this.toolName = toolName
    this.#path = paths.permission(sandboxId, runId, id)
    const { texts, changes, main } = describeTool(toolName, input, workdir)
    this.element = h('section', { class: 'permission', 'data-state': 'open', tabindex: '-1', 'aria-label': `Permission for ${toolName}` },
      h('div', { class: 'permission-head' }, icon('shield'),
        h('p', {}, 'Claude wants to use ', h('strong', {}, toolName), main && !texts.length && [': ', h('code', {}, main)]),
        this.#left),
      texts.map(([label, text]) => codeBlock(text, label)),
      changes.map(([before, after]) => diffView(before, after)),
      this.#actions)
    highlight(this.element)
    this.#actions.addEventListener('submit', (event) => {
      event.preventDefault()
      this.answer('deny')
    })
    this.#showActions()
    const tick = () => {
      const left = Date.parse(expiresAt) - Date.now()
      this.#left.textContent = left > 0 ? `${approximateDuration(left)} left` : ''
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
    this.#keepFocus()
    this.#actions.replaceChildren(h('p', { class: 'muted' }, icon(decision === 'allow' ? 'check' : 'cross'),
      ` ${decision === 'allow' ? 'Allowed' : 'Denied'}${reasons[resolvedBy] ?? ''}`))
  }

  /** Stops the countdown. */
  close () {
    clearInterval(this.#timer)
  }

  async answer (decision) {
    const message = this.#reason.value.trim()
    this.element.querySelector('.notice')?.remove()
    this.#keepFocus()
    for (const control of this.#actions.elements) control.disabled = true
    try {
      await send('POST', this.#path, { json: { decision, ...(decision === 'deny' && message && { message }) } })
      announce(decision === 'allow' ? 'Allowed' : 'Denied')
      if (this.open) this.resolve({ decision, by: 'user' })
    } catch (error) {
      if (!this.open) return
      this.#showActions()
      this.element.append(notice(error))
    }
  }

  /** The buttons are about to be removed: keeps the focus on the card for keyboard users. */
  #keepFocus () {
    if (this.element.contains(document.activeElement)) this.element.focus()
  }

  #showActions () {
    for (const control of this.#actions.elements) control.disabled = false
    this.#actions.replaceChildren(
      button('Allow', () => this.answer('allow'), { kind: 'primary small' }),
      button('Deny', () => this.answer('deny'), { kind: 'small' }),
      this.#reason)
  }
}
