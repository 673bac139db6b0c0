import { paths, send } from '../lib/api.js'
import { announce, h } from '../lib/dom.js'
import { roughly } from '../lib/format.js'
import { icon } from '../lib/icons.js'
import { codeBlock } from '../markdown/code.js'
import { button, notice } from '../views/notice.js'
import { diffView } from './diff.js'
import { describeTool } from './tool-kinds.js'

const by = { user: '', deadline: ', because nobody answered in time', run_end: ', because the run ended' }

/** Claude asks whether it may use a tool. Who does not answer in time has said no. */
export class PermissionCard {
  #actions = h('div', { class: 'actions' })
  #left = h('span', { class: 'muted' })
  #timer

  /** @param {{id, toolName, input, expiresAt}} request as the service tells it */
  constructor (request, { sandboxId, runId, workdir }) {
    this.request = request
    this.path = paths.permission(sandboxId, runId, request.id)
    const { texts, changes, main } = describeTool(request.toolName, request.input, workdir)
    this.element = h('section', { class: 'permission', 'data-state': 'open', 'aria-label': `Permission for ${request.toolName}` },
      h('div', { class: 'permission-head' }, icon('shield'),
        h('p', {}, 'Claude wants to use ', h('strong', {}, request.toolName), main && !texts.length && [': ', h('code', {}, main)]),
        this.#left),
      texts.map(([label, text]) => codeBlock(text, label)),
      changes.map(([before, after]) => [h('code', { class: 'small' }, main), diffView(before, after)]),
      this.#actions)
    this.#offer()
    const tick = () => {
      const left = Date.parse(request.expiresAt) - Date.now()
      this.#left.textContent = left > 0 ? `${roughly(left)} left` : ''
    }
    tick()
    this.#timer = setInterval(tick, 1000)
  }

  /** @param {{decision: 'allow' | 'deny', by: string}} answer */
  resolve ({ decision, by: who }) {
    clearInterval(this.#timer)
    this.#left.textContent = ''
    this.element.dataset.state = decision
    this.#actions.replaceChildren(h('p', { class: 'muted' }, icon(decision === 'allow' ? 'check' : 'cross'),
      ` ${decision === 'allow' ? 'Allowed' : 'Denied'}${by[who] ?? ''}`))
  }

  get open () {
    return this.element.dataset.state === 'open'
  }

  close () {
    clearInterval(this.#timer)
  }

  #offer () {
    this.#actions.replaceChildren(
      button('Allow', () => this.#answer('allow'), { kind: 'primary small' }),
      button('Deny', () => this.#answer('deny'), { kind: 'small' }))
  }

  async #answer (decision) {
    for (const one of this.#actions.querySelectorAll('button')) one.disabled = true
    try {
      await send('POST', this.path, { json: { decision } })
      announce(decision === 'allow' ? 'Allowed' : 'Denied')
      if (this.open) this.resolve({ decision, by: 'user' })
    } catch (error) {
      this.#offer()
      this.#actions.append(notice(error))
    }
  }
}
