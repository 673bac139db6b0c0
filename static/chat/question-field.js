import { h } from '../lib/dom.js'
import { words } from '../lib/words.js'
import { codeBlock } from '../markdown/code.js'

/** One question: its options, and an answer in other words. */
export class QuestionField {
  #multiple
  /** The inputs of the options, in their order. */
  #inputs
  #other
  #text

  /**
   * @param {{question, header, multiSelect, options: {label, description, preview}[]}} question
   * @param {string} name of its inputs
   */
  constructor ({ question, header, multiSelect, options }, name) {
    this.question = question
    this.#multiple = multiSelect
    const type = multiSelect ? 'checkbox' : 'radio'
    this.#inputs = options.map(({ label }) => h('input', { type, name, value: label }))
    this.#other = h('input', { type, name, 'aria-label': words.permission.anotherAnswer })
    this.#other.addEventListener('change', () => { if (this.#other.checked) this.#text.focus() })
    this.#text = h('input', {
      type: 'text',
      'aria-label': words.permission.anotherAnswerTo(question),
      placeholder: words.permission.anotherAnswer,
      maxlength: '4000',
      autocomplete: 'off'
    })
    this.#text.addEventListener('input', () => { this.#other.checked = this.#text.value.trim() !== '' })
    this.element = h('fieldset', { class: 'question' },
      h('legend', {}, header && h('span', { class: 'question-header' }, header), question),
      options.map(({ label, description, preview }, index) => [
        h('label', { class: 'option' }, this.#inputs[index],
          h('span', {}, h('span', { class: 'option-label' }, label), description && h('span', { class: 'muted small' }, description)),
          digit(index)),
        preview && h('details', { class: 'option-preview' }, h('summary', {}, words.permission.previewOf(label)), codeBlock(preview))
      ]),
      h('div', { class: 'option' }, this.#other, this.#text, digit(options.length)))
  }

  get answered () {
    const { options, text } = this.answer
    return options !== undefined || text !== undefined
  }

  /** As the API takes it. */
  get answer () {
    const options = this.#inputs.filter(({ checked }) => checked).map(({ value }) => value)
    const text = this.#other.checked ? this.#text.value.trim() : ''
    return { ...(options.length > 0 && { options }), ...(text && { text }) }
  }

  /** The answer in one line. */
  get text () {
    const { options = [], text } = this.answer
    return [...options, ...(text ? [text] : [])].join(', ')
  }

  focus () {
    (this.#inputs.find(({ checked }) => checked) ?? this.#inputs[0]).focus()
  }

  /** Chooses an option by its number, or takes that of several back. @returns whether that settles the question */
  choose (number) {
    const input = [...this.#inputs, this.#other][number - 1]
    if (input === undefined) return false
    input.focus()
    input.click()
    return !this.#multiple && input !== this.#other
  }
}

function digit (index) {
  return index < 9 && h('kbd', {}, String(index + 1))
}
