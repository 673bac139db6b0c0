import { h } from '../lib/dom.js'
import { formatList } from '../lib/format.js'
import { icon } from '../lib/icons.js'
import { words } from '../lib/words.js'

/** The current branch; others to switch to, and a field for a new one. */
export class BranchPicker {
  #select = h('select', { 'aria-label': words.changes.branch, onchange: () => this.#onSwitch(this.#select.value, false) })
  #upstream = h('span', { class: 'muted small' })
  #name = h('input', {
    type: 'text',
    'aria-label': words.changes.newBranchName,
    placeholder: words.changes.newBranch,
    autocapitalize: 'off',
    spellcheck: 'false',
    required: true
  })

  #form
  #onSwitch

  /** @param {{onSwitch: (name: string, create: boolean) => void}} options */
  constructor ({ onSwitch }) {
    this.#onSwitch = onSwitch
    const toggle = h('button', {
      type: 'button',
      class: 'quiet',
      'aria-label': words.changes.newBranch,
      title: words.changes.newBranch,
      'aria-expanded': 'false',
      onclick: () => this.#toggle()
    }, icon('plus'))
    this.#form = h('form', { class: 'branch-new', hidden: true, onsubmit: (event) => this.#create(event), onkeydown: (event) => this.#leave(event) },
      this.#name, h('button', { class: 'button small' }, words.changes.createBranch))
    this.toggle = toggle
    this.element = h('div', { class: 'branch' },
      h('div', { class: 'branch-line' }, icon('branch'), this.#select, toggle, this.#upstream), this.#form)
  }

  /** What takes the focus. */
  get control () {
    return this.#select
  }

  show ({ branch, commit, branches, upstream, ahead, behind }) {
    // A new branch has no commit, and a commit itself may be checked out.
    const current = branch ?? words.changes.commitNamed(commit?.slice(0, 8))
    const others = branches.filter((name) => name !== current)
    this.#select.replaceChildren(...[current, ...others].map((name) => h('option', { value: name }, name)))
    this.#select.value = current
    const distance = [ahead && words.changes.ahead(ahead), behind && words.changes.behind(behind)].filter(Boolean)
    this.#upstream.textContent = formatList(distance)
    this.#upstream.title = upstream ?? ''
  }

  #toggle (open = this.#form.hidden) {
    this.#form.hidden = !open
    this.toggle.setAttribute('aria-expanded', String(open))
    if (open) this.#name.focus()
    else this.toggle.focus()
  }

  #create (event) {
    event.preventDefault()
    const name = this.#name.value.trim()
    if (name === '') return
    this.#name.value = ''
    this.#toggle(false)
    this.#onSwitch(name, true)
  }

  #leave (event) {
    if (event.key !== 'Escape') return
    event.stopPropagation()
    this.#toggle(false)
  }
}
