import { h } from '../lib/dom.js'
import { icon } from '../lib/icons.js'
import { enableLightDismiss } from '../lib/light-dismiss.js'
import { browserStorage } from '../lib/storage.js'

const modes = [
  ['bypassPermissions', 'Full access', 'Claude may do anything inside the sandbox'],
  ['ask', 'Ask first', 'You allow or deny each change'],
  ['plan', 'Plan first', 'Claude reads and plans, and changes nothing until you approve']
]

/** The options for new runs, remembered in this browser. */
export class RunOptions {
  #mode = h('select', { 'aria-label': 'What Claude may do' },
    modes.map(([value, label, title]) => h('option', { value, title }, label)))

  #model = h('input', {
    id: 'run-model',
    placeholder: 'Default',
    autocomplete: 'off',
    spellcheck: 'false',
    autocapitalize: 'off',
    pattern: '[A-Za-z0-9][A-Za-z0-9._:\\/@\\[\\]\\-]*',
    maxlength: '200'
  })

  #budget = h('input', { id: 'run-budget', type: 'number', min: '0.01', step: '0.01', placeholder: 'None' })
  #turns = h('input', { id: 'run-turns', type: 'number', min: '1', step: '1', placeholder: 'None' })

  constructor () {
    const { mode = 'bypassPermissions', model = '', budget = '', turns = '' } = browserStorage.read('run', {})
    this.#mode.value = modes.some(([value]) => value === mode) ? mode : 'bypassPermissions'
    Object.assign(this.#model, { value: model })
    Object.assign(this.#budget, { value: budget })
    Object.assign(this.#turns, { value: turns })
    const field = (label, input) => h('div', { class: 'field' }, h('label', { for: input.id }, label), input)
    this.element = h('div', { class: 'run-options', onchange: () => this.#remember() },
      this.#mode,
      h('details', { class: 'popover' },
        h('summary', { class: 'quiet', 'aria-label': 'More run options', title: 'More options' }, icon('sliders')),
        h('div', { class: 'popover-body' },
          field('Model', this.#model), field('Max turns', this.#turns), field('Budget in USD', this.#budget))))
    enableLightDismiss(this.element.querySelector('details'))
  }

  /** The fields of a run's request that differ from the defaults. There is always somebody who answers. */
  get request () {
    const valid = (input) => input.value !== '' && input.checkValidity()
    return {
      interactive: true,
      ...(this.#mode.value !== 'bypassPermissions' && { permissionMode: this.#mode.value }),
      ...(valid(this.#model) && { model: this.#model.value }),
      ...(valid(this.#turns) && { maxTurns: Number(this.#turns.value) }),
      ...(valid(this.#budget) && { maxBudgetUsd: Number(this.#budget.value) })
    }
  }

  #remember () {
    browserStorage.write('run', {
      mode: this.#mode.value, model: this.#model.value, budget: this.#budget.value, turns: this.#turns.value
    })
  }
}
