import { h } from '../lib/dom.js'
import { words } from '../lib/words.js'
import { LiveMarkdown } from '../markdown/live.js'
import { button } from '../views/notice.js'
import { denialInput, RequestCard } from './request-card.js'

const modes = ['bypassPermissions', 'acceptEdits', 'ask']

/** Claude's plan, to be approved or sent back. */
export class PlanCard extends RequestCard {
  #mode = h('select', { 'aria-label': words.permission.howToGoOn },
    modes.map((mode) => h('option', { value: mode }, words.permission.goOnModes[mode])))

  #word = denialInput(words.permission.different)

  /** @param {{plan: string}} request the data of `permission.requested` */
  constructor (request, run) {
    super(request, run, {
      label: words.permission.plan,
      symbol: 'list',
      title: words.permission.wantsToStart(h('strong', {}, words.permission.hasPlan)),
      alert: words.permission.hasPlan,
      summary: words.permission.planSummary,
      labels: {
        allow: words.permission.approved, deny: words.permission.sentBack, lapse: words.permission.notApproved
      }
    })
    const text = new LiveMarkdown()
    text.finish(request.plan)
    this.body.append(h('div', { class: 'plan' },
      request.plan.trim() === '' ? h('p', { class: 'muted' }, words.permission.noPlan) : text.element))
    this.form.append(
      h('div', { class: 'actions' },
        button(words.permission.approve, () => this.answer('allow'), { kind: 'primary small' }), this.#mode),
      h('div', { class: 'actions' },
        button(words.permission.keepPlanning, () => this.answer('deny'), { kind: 'small' }), this.#word))
    this.form.addEventListener('submit', (event) => {
      event.preventDefault()
      this.answer('deny')
    })
  }

  answer (decision) {
    const message = this.#word.value.trim()
    return this.send(decision === 'allow' ? { decision, permissionMode: this.#mode.value } : { decision, ...(message && { message }) })
  }
}
