import { h } from '../lib/dom.js'
import { LiveMarkdown } from '../markdown/live.js'
import { button } from '../views/notice.js'
import { denialInput, RequestCard } from './request-card.js'

const modes = [
  ['bypassPermissions', 'with full access'],
  ['acceptEdits', 'and edit files without asking'],
  ['ask', 'and ask before each change']
]

/** Claude's plan, to be approved or sent back. */
export class PlanCard extends RequestCard {
  #mode = h('select', { 'aria-label': 'How Claude goes on' }, modes.map(([value, label]) => h('option', { value }, label)))
  #word = denialInput('What should be different?')

  /** @param {{plan: string}} request the data of `permission.requested` */
  constructor (request, run) {
    super(request, run, {
      label: 'Plan',
      symbol: 'list',
      title: [h('strong', {}, 'Claude has a plan'), ' and wants to start.'],
      alert: 'Claude has a plan',
      summary: 'It wants to start.',
      labels: { allow: 'Approved', deny: 'Sent back', lapse: 'Not approved' }
    })
    const text = new LiveMarkdown()
    text.finish(request.plan)
    this.body.append(h('div', { class: 'plan' },
      request.plan.trim() === '' ? h('p', { class: 'muted' }, 'Claude has not written it down.') : text.element))
    this.form.append(
      h('div', { class: 'actions' },
        button('Approve', () => this.answer('allow'), { kind: 'primary small' }), this.#mode),
      h('div', { class: 'actions' },
        button('Keep planning', () => this.answer('deny'), { kind: 'small' }), this.#word))
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
