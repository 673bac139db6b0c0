import { paths, send } from '../lib/api.js'
import { announce, h } from '../lib/dom.js'
import { roughly } from '../lib/format.js'
import { icon } from '../lib/icons.js'
import { codeBlock, highlight } from '../markdown/code.js'
import { button, notice } from '../views/notice.js'
import { diffView } from './diff.js'
import { describeTool } from './tool-kinds.js'

const by = {
  deadline: ', because nobody answered in time',
  run_end: ', because the run ended',
  claude: ', because Claude no longer asks'
}

/** Claude asks whether it may use a tool. Who does not answer in time has said no. */
export class PermissionCard {
  #actions = h('form', { class: 'actions' })
  #reason = h('input', {
    class: 'permission-reason', 'aria-label': 'Why not, for Claude', placeholder: 'Why not, for Claude', maxlength: '900', autocomplete: 'off'
  })

  #left = h('span', { class: 'muted' })
  #timer
  #path

  /** @param {{id, toolName, input, expiresAt}} request as the service tells it */
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
    this.#offer()
    const tick = () => {
      const left = Date.parse(expiresAt) - Date.now()
      this.#left.textContent = left > 0 ? `${roughly(left)} left` : ''
    }
    tick()
    this.#timer = setInterval(tick, 1000)
  }

  get open () {
    return this.element.dataset.state === 'open'
  }

  /** @param {{decision: 'allow' | 'deny', by: string}} answer */
  resolve ({ decision, by: who }) {
    this.close()
    this.#left.textContent = ''
    this.element.dataset.state = decision
    this.#keepFocus()
    this.#actions.replaceChildren(h('p', { class: 'muted' }, icon(decision === 'allow' ? 'check' : 'cross'),
      ` ${decision === 'allow' ? 'Allowed' : 'Denied'}${by[who] ?? ''}`))
  }

  /** Nothing more will be heard of it. */
  close () {
    clearInterval(this.#timer)
  }

  async answer (decision) {
    const message = this.#reason.value.trim()
    this.element.querySelector('.notice')?.remove()
    this.#keepFocus()
    for (const one of this.#actions.elements) one.disabled = true
    try {
      await send('POST', this.#path, { json: { decision, ...(decision === 'deny' && message && { message }) } })
      announce(decision === 'allow' ? 'Allowed' : 'Denied')
      if (this.open) this.resolve({ decision, by: 'user' })
    } catch (error) {
      if (!this.open) return
      this.#offer()
      this.element.append(notice(error))
    }
  }

  /** Its buttons go: whoever uses the keyboard stays where they were. */
  #keepFocus () {
    if (this.element.contains(document.activeElement)) this.element.focus()
  }

  #offer () {
    for (const one of this.#actions.elements) one.disabled = false
    this.#actions.replaceChildren(
      button('Allow', () => this.answer('allow'), { kind: 'primary small' }),
      button('Deny', () => this.answer('deny'), { kind: 'small' }),
      this.#reason)
  }
}
