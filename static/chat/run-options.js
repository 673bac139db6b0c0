import { h } from '../lib/dom.js'
import { icon } from '../lib/icons.js'
import { enableLightDismiss } from '../lib/light-dismiss.js'
import { browserStorage } from '../lib/storage.js'

const modes = [
  ['bypassPermissions', 'Full access', 'Claude may do anything inside the sandbox'],
  ['acceptEdits', 'Accept edits', 'Claude changes files; you allow or deny everything else'],
  ['ask', 'Ask first', 'You allow or deny each change'],
  ['plan', 'Plan first', 'Claude reads and plans, and changes nothing until you approve']
]
/** The CLI's names for the latest model of each kind. */
const models = [['opus', 'Opus'], ['sonnet', 'Sonnet'], ['haiku', 'Haiku'], ['fable', 'Fable']]
const otherModel = 'other'
const efforts = [['low', 'Low'], ['medium', 'Medium'], ['high', 'High'], ['xhigh', 'Very high'], ['max', 'Maximum']]

/** The options for new runs, remembered in this browser. */
export class RunOptions {
  #mode = select({ 'aria-label': 'What Claude may do' }, modes)
  #model = select({ id: 'run-model' }, [['', 'Default'], ...models, [otherModel, 'Another…']])
  #effort = select({ id: 'run-effort' }, [['', 'Default'], ...efforts])
  #modelId = h('input', {
    id: 'run-model-id',
    autocomplete: 'off',
    spellcheck: 'false',
    autocapitalize: 'off',
    pattern: '[A-Za-z0-9][A-Za-z0-9._:\\/@\\[\\]\\-]*',
    maxlength: '200'
  })

  #budget = h('input', { id: 'run-budget', type: 'number', min: '0.01', step: '0.01', placeholder: 'None' })
  #turns = h('input', { id: 'run-turns', type: 'number', min: '1', step: '1', placeholder: 'None' })

  /** What is chosen, where that is not the default. */
  #choice = h('span', { class: 'run-choice wide-only' })
  #summary = h('summary', { class: 'quiet', title: 'Model, effort and limits' }, icon('sliders'), this.#choice)
  #modelIdField = field('Model id', this.#modelId)

  constructor () {
    const { mode, model = '', effort = '', budget = '', turns = '' } = browserStorage.read('run', {})
    const isListed = model === '' || models.some(([alias]) => alias === model)
    choose(this.#mode, mode)
    choose(this.#model, isListed ? model : otherModel)
    choose(this.#effort, effort)
    this.#modelId.value = isListed ? '' : model
    this.#budget.value = budget
    this.#turns.value = turns
    this.element = h('div', { class: 'run-options', onchange: ({ target }) => this.#changed(target) },
      this.#mode,
      h('details', { class: 'popover' }, this.#summary,
        h('div', { class: 'popover-body' },
          field('Model', this.#model), field('Effort', this.#effort), this.#modelIdField,
          field('Max turns', this.#turns), field('Budget in USD', this.#budget))))
    enableLightDismiss(this.element.querySelector('details'))
    this.#show()
  }

  /** The fields of a run's request that differ from the defaults. There is always somebody who answers. */
  get request () {
    const valid = (input) => input.value !== '' && input.checkValidity()
    const model = this.#model.value === otherModel ? valid(this.#modelId) && this.#modelId.value : this.#model.value
    return {
      interactive: true,
      ...(this.#mode.value !== 'bypassPermissions' && { permissionMode: this.#mode.value }),
      ...(model && { model }),
      ...(this.#effort.value !== '' && { effort: this.#effort.value }),
      ...(valid(this.#turns) && { maxTurns: Number(this.#turns.value) }),
      ...(valid(this.#budget) && { maxBudgetUsd: Number(this.#budget.value) })
    }
  }

  #changed (field) {
    this.#remember()
    this.#show()
    if (field === this.#model && field.value === otherModel) this.#modelId.focus()
  }

  #remember () {
    browserStorage.write('run', {
      mode: this.#mode.value,
      model: this.#model.value === otherModel ? this.#modelId.value : this.#model.value,
      effort: this.#effort.value,
      budget: this.#budget.value,
      turns: this.#turns.value
    })
  }

  #show () {
    const { model, effort } = this.request
    const modelName = models.find(([alias]) => alias === model)?.[1] ?? model
    const effortName = effort && `${efforts.find(([value]) => value === effort)[1]} effort`
    const choice = modelName && effortName ? `${modelName}, ${effortName.toLowerCase()}` : modelName ?? effortName ?? ''
    this.#modelIdField.hidden = this.#model.value !== otherModel
    this.#choice.textContent = choice
    this.#summary.setAttribute('aria-label', choice === '' ? 'More run options' : `More run options: ${choice}`)
  }
}

function field (label, input) {
  return h('div', { class: 'field' }, h('label', { for: input.id }, label), input)
}

function select (attributes, options) {
  return h('select', attributes, options.map(([value, label, title]) => h('option', { value, title }, label)))
}

/** Unless there is no such option: then the first one stays chosen. */
function choose (select, value) {
  if ([...select.options].some((option) => option.value === value)) select.value = value
}
