import { h } from '../lib/dom.js'
import { icon } from '../lib/icons.js'
import { enableLightDismiss } from '../lib/light-dismiss.js'
import { browserStorage } from '../lib/storage.js'
import { words } from '../lib/words.js'

const modes = Object.entries(words.options.modes).map(([mode, name]) => [mode, name, words.options.modeMeanings[mode]])
/** The CLI's names for the latest model of each kind. */
const models = [['opus', 'Opus'], ['sonnet', 'Sonnet'], ['haiku', 'Haiku'], ['fable', 'Fable']]
const otherModel = 'other'
const efforts = Object.entries(words.options.efforts)

/** The options for new runs, remembered in this browser. */
export class RunOptions {
  #mode = select({ 'aria-label': words.options.mode }, modes)
  #model = select({ id: 'run-model' }, [['', words.options.default], ...models, [otherModel, words.options.another]])
  #effort = select({ id: 'run-effort' }, [['', words.options.default], ...efforts])
  #modelId = h('input', {
    id: 'run-model-id',
    autocomplete: 'off',
    spellcheck: 'false',
    autocapitalize: 'off',
    pattern: '[A-Za-z0-9][A-Za-z0-9._:\\/@\\[\\]\\-]*',
    maxlength: '200'
  })

  #budget = h('input', { id: 'run-budget', type: 'number', min: '0.01', step: '0.01', placeholder: words.options.none })
  #turns = h('input', { id: 'run-turns', type: 'number', min: '1', step: '1', placeholder: words.options.none })

  /** What is chosen, where that is not the default. */
  #choice = h('span', { class: 'run-choice wide-only' })
  #summary = h('summary', { class: 'quiet', title: words.options.about }, icon('sliders'), this.#choice)
  /** Loaded when it is first looked at. */
  #allowed
  #modelIdField = field(words.options.modelId, this.#modelId)

  constructor (sandboxId) {
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
          field(words.options.model, this.#model), field(words.options.effort, this.#effort), this.#modelIdField,
          field(words.options.turns, this.#turns), field(words.options.budget, this.#budget))))
    const details = this.element.querySelector('details')
    enableLightDismiss(details)
    details.addEventListener('toggle', () => { if (details.open) this.#showAllowed(sandboxId) })
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

  async #showAllowed (sandboxId) {
    const { AllowedRules } = await import('./allowed.js').catch(() => ({}))
    if (AllowedRules === undefined) return
    if (this.#allowed === undefined) {
      this.#allowed = new AllowedRules(sandboxId)
      this.element.querySelector('.popover-body').append(this.#allowed.element)
    }
    await this.#allowed.refresh()
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
    const effortName = words.options.effortNamed[effort]
    const choice = modelName && effortName ? words.options.modelAndEffort(modelName, effortName) : modelName ?? effortName ?? ''
    this.#modelIdField.hidden = this.#model.value !== otherModel
    this.#choice.textContent = choice
    this.#summary.setAttribute('aria-label', choice === '' ? words.options.more : words.options.moreWith(choice))
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
