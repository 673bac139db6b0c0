import { h } from '../lib/dom.js'
import { words } from '../lib/words.js'
import { formatField, nameFields, parseField, sections } from './create-fields.js'
import { button, notice } from './notice.js'
import { lastSpec, rememberSpec } from './specs.js'

/** The form for the options of a new sandbox. It starts with the last choice made in this browser. */
export class CreateForm {
  #inputs = new Map()
  #problem = h('div')

  /** @param {{problem?, spec?}} options with the spec and the error of an attempt that was refused */
  constructor ({ onCreate, onBack, spec = lastSpec(), problem }) {
    this.onCreate = onCreate
    this.element = h('section', { class: 'card wide' },
      h('h1', { tabindex: '-1' }, words.create.title),
      h('p', { class: 'muted' }, words.create.about),
      this.#problem,
      h('form', { class: 'create', onsubmit: (event) => this.#submit(event) },
        sections.map((section) => this.#section(section, spec)),
        h('div', { class: 'actions' },
          h('button', { type: 'submit', class: 'button primary' }, words.create.create),
          button(words.common.back, onBack))))
    if (problem) this.#showProblem(problem)
  }

  #section ({ title, open = false, fields }, spec) {
    const values = fields.map(({ name }) => valueAt(spec, name))
    return h('details', { class: 'section', open: open || values.some((value) => value !== undefined) },
      h('summary', {}, title),
      h('div', { class: 'fields' }, fields.map((field, index) => this.#field(field, values[index]))))
  }

  #field (field, value) {
    const { name, label, kind = 'text', placeholder, hint, step = 'any', min = '1' } = field
    const id = `field-${name}`
    const shared = { id, name, placeholder, autocomplete: 'off', spellcheck: 'false', 'aria-describedby': hint && `${id}-hint` }
    const input = kind === 'lines' || kind === 'pairs'
      ? h('textarea', { ...shared, rows: '3', class: 'mono' })
      : kind === 'flag'
        ? h('input', { id, name, type: 'checkbox' })
        : h('input', { ...shared, ...(['number', 'minutes'].includes(kind) && { type: 'number', step, min }) })
    if (kind === 'flag') input.checked = formatField(field, value)
    else input.value = formatField(field, value)
    this.#inputs.set(field, input)
    return h('div', { class: kind === 'flag' ? 'check' : 'field' },
      kind === 'flag' && input, h('label', { for: id }, label), kind !== 'flag' && input,
      hint && h('p', { id: `${id}-hint`, class: 'muted small' }, hint))
  }

  #submit (event) {
    event.preventDefault()
    this.#problem.replaceChildren()
    for (const input of this.#inputs.values()) input.removeAttribute('aria-invalid')
    const spec = {}
    for (const [field, input] of this.#inputs) {
      try {
        setAt(spec, field.name, parseField(field, input))
      } catch (error) {
        return this.#showProblem({ message: words.create.problem(field.label, error.message), field: field.name })
      }
    }
    rememberSpec(spec)
    this.onCreate(spec)
  }

  /** Shows an error, and focuses the field that the service's message names. */
  #showProblem (problem) {
    const named = problem.field ?? /\bbody\.([\w.]+)/.exec(problem.message)?.[1]
    const entry = [...this.#inputs].find(([{ name }]) => named === name || named?.startsWith(`${name}.`))
    this.#problem.replaceChildren(notice({ ...problem, message: nameFields(problem.message) }, { dismissible: false }))
    if (!entry) return
    const [, input] = entry
    input.setAttribute('aria-invalid', 'true')
    input.closest('details').open = true
    setTimeout(() => input.focus())
  }
}

function valueAt (spec, name) {
  return name.split('.').reduce((value, part) => value?.[part], spec)
}

function setAt (spec, name, value) {
  if (value === undefined) return
  const parts = name.split('.')
  const last = parts.pop()
  const parent = parts.reduce((object, part) => (object[part] ??= {}), spec)
  parent[last] = value
}
