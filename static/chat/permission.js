import { h } from '../lib/dom.js'
import { codeBlock, highlight } from '../markdown/code.js'
import { button } from '../views/notice.js'
import { diffView } from './diff.js'
import { denialInput, RequestCard } from './request-card.js'
import { describeTool } from './tool-kinds.js'

/** Claude's request to use a tool. */
export class PermissionCard extends RequestCard {
  #reason = denialInput('Reason for denying')

  /** @param {{toolName, input, canRemember}} request the data of `permission.requested` */
  constructor (request, run) {
    const { toolName, input, canRemember } = request
    const { texts, changes, main } = describeTool(toolName, input, run.workdir)
    super(request, run, {
      label: `Permission for ${toolName}`,
      symbol: 'shield',
      title: ['Claude wants to use ', h('strong', {}, toolName), main && !texts.length && [': ', h('code', {}, main)]],
      alert: 'Claude needs your permission',
      summary: `It wants to use ${toolName}.`,
      labels: { allow: 'Allowed', deny: 'Denied', lapse: 'Denied' }
    })
    this.body.append(
      ...texts.map(([label, text]) => codeBlock(text, label)),
      ...changes.map(([before, after]) => diffView(before, after)))
    highlight(this.body)
    const remember = () => this.send({ decision: 'allow', remember: 'run' })
    this.form.append(h('div', { class: 'actions' },
      button('Allow', () => this.answer('allow'), { kind: 'primary small' }),
      canRemember && button('Always allow in this run', remember, { kind: 'small' }),
      button('Deny', () => this.answer('deny'), { kind: 'small' }),
      this.#reason))
    this.form.addEventListener('submit', (event) => {
      event.preventDefault()
      this.answer('deny')
    })
  }

  answer (decision) {
    const message = this.#reason.value.trim()
    return this.send({ decision, ...(decision === 'deny' && message && { message }) })
  }
}
