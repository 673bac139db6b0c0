import { h } from '../lib/dom.js'
import { words } from '../lib/words.js'
import { codeBlock, highlight } from '../markdown/code.js'
import { button } from '../views/notice.js'
import { diffView } from './diff.js'
import { denialInput, RequestCard } from './request-card.js'
import { describeTool } from './tool-kinds.js'

/** Claude's request to use a tool. */
export class PermissionCard extends RequestCard {
  #reason = denialInput(words.permission.reason)

  /** @param {{toolName, input, canRemember, rules}} request the data of `permission.requested` */
  constructor (request, run) {
    const { toolName, input, canRemember, rules } = request
    const { texts, changes, main } = describeTool(toolName, input, run.workdir)
    const tool = h('strong', {}, toolName)
    super(request, run, {
      label: words.permission.nameTool(toolName),
      symbol: 'shield',
      title: main && !texts.length
        ? words.permission.wantsToUseFor(tool, h('code', {}, main))
        : words.permission.wantsToUse(tool),
      alert: words.permission.needed,
      summary: words.permission.summary(toolName),
      labels: { allow: words.permission.allowed, deny: words.permission.denied, lapse: words.permission.denied }
    })
    this.body.append(
      ...texts.map(([label, text]) => codeBlock(text, label)),
      ...changes.map(([before, after]) => diffView(before, after)))
    highlight(this.body)
    const remember = (where) => () => this.send({ decision: 'allow', remember: where })
    this.form.append(h('div', { class: 'actions' },
      button(words.permission.allow, () => this.answer('allow'), { kind: 'primary small' }),
      canRemember && button(words.permission.allowInRun, remember('run'), { kind: 'small' }),
      rules && button(words.permission.allowInWorkspace, remember('workspace'), { kind: 'small' }),
      button(words.permission.deny, () => this.answer('deny'), { kind: 'small' }),
      this.#reason),
    rules && h('p', { class: 'muted small' }, words.permission.rulesForWorkspace(h('code', {}, rules.join(', ')))))
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
