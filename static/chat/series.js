import { h } from '../lib/dom.js'
import { words } from '../lib/words.js'

/** Fewer are not worth a click. */
const leastFolded = 6
const namedTools = 3

/**
 * Tool calls that follow each other, with the thoughts between them. Those that are done fold into one line, which
 * opens. What runs, waits or has failed stays visible in its place, and so does the latest call.
 */
export class Series {
  #label = h('span', { class: 'series-count' })
  #names = h('span', { class: 'muted small' })
  #toggle = h('button', { type: 'button', class: 'series-toggle', 'aria-expanded': 'false', hidden: true, onclick: () => this.#open() },
    this.#label, this.#names)

  element = h('div', { class: 'series', 'data-folded': '' }, this.#toggle)
  #last
  /** Before the latest call. @type {Set<ToolCard>} */
  #folded = new Set()
  /** Since the latest call. */
  #thoughts = []

  /** @param {ToolCard} tool the latest call */
  add (tool) {
    const before = this.#last
    this.#last = tool
    this.element.append(tool.element)
    tool.onState = () => this.#review(tool)
    for (const { element } of this.#thoughts.splice(0)) if (!isInUse(element)) element.dataset.folds = ''
    if (before) this.#review(before)
  }

  /** @param {Thinking} thought which may not be over yet */
  think (thought) {
    this.#thoughts.push(thought)
    this.element.append(thought.element)
  }

  /** What somebody looks at is left alone. */
  #review (tool) {
    const folds = tool !== this.#last && tool.done && !isInUse(tool.element)
    if (folds === this.#folded.has(tool)) return
    if (folds) this.#folded.add(tool)
    else this.#folded.delete(tool)
    tool.element.toggleAttribute('data-folds', folds)
    this.#toggle.hidden = this.#folded.size < leastFolded
    this.element.toggleAttribute('data-foldable', !this.#toggle.hidden)
    this.#describe()
  }

  #describe () {
    if (this.#toggle.hidden) return
    const counts = new Map()
    for (const { name } of this.#folded) counts.set(name, (counts.get(name) ?? 0) + 1)
    const most = [...counts].sort(([, one], [, other]) => other - one).slice(0, namedTools)
    this.#label.textContent = words.tools.steps(this.#folded.size)
    this.#names.textContent = most.map(([name, count]) => count > 1 ? `${name} ${count}` : name).join(', ') + (counts.size > namedTools ? ' …' : '')
  }

  #open () {
    const folded = this.element.toggleAttribute('data-folded')
    this.#toggle.setAttribute('aria-expanded', String(!folded))
  }
}

function isInUse (element) {
  return element.open || element.contains(document.activeElement)
}
