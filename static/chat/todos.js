import { h } from '../lib/dom.js'
import { icon } from '../lib/icons.js'
import { words } from '../lib/words.js'

const tools = ['TodoWrite', 'TaskCreate', 'TaskUpdate']
const states = words.tools.todoStates

/** Whether a call of this tool says something about a list of things to do. */
export function isTodoTool (name) {
  return tools.includes(name)
}

/** What Claude has set itself to do in a conversation, as its tools have told it; the input is untrusted. */
export class Todos {
  /** @type {{id?: string, text: string, active: string, state: string}[]} */
  items

  /** @param {Todos} [before] what it goes on from, which stays as it is */
  constructor (before) {
    this.items = (before?.items ?? []).map((item) => ({ ...item }))
  }

  /** @param {string} result what the tool has answered, where a new task gets its number */
  apply (name, input, result) {
    const fields = typeof input === 'object' && input !== null ? input : {}
    if (name === 'TodoWrite') this.items = Array.isArray(fields.todos) ? fields.todos.map(itemOf) : []
    else if (name === 'TaskCreate') this.items = [...this.items, itemOf({ ...fields, id: /Task #(\S+) created/.exec(result)?.[1] })]
    else this.#update(fields)
  }

  #update ({ taskId, ...fields }) {
    const known = this.items.find(({ id }) => id !== undefined && id === String(taskId))
    if (known === undefined) return
    if (fields.status === 'deleted') this.items = this.items.filter((item) => item !== known)
    else Object.assign(known, itemOf({ ...asFields(known), ...fields }))
  }
}

function asFields ({ id, text, active, state }) {
  return { id, subject: text, activeForm: active, status: state }
}

/** `TodoWrite` says content, the tools for tasks say subject. */
function itemOf (fields) {
  const { id, content, subject = content, activeForm = subject, status } = typeof fields === 'object' && fields !== null ? fields : {}
  return { id, text: String(subject ?? ''), active: String(activeForm ?? ''), state: Object.hasOwn(states, status) ? status : 'pending' }
}

/** The list as it is now: how far it is and the current item in one line, which opens to show all. */
export class TodoView {
  #count = h('span', { class: 'todo-count' })
  #current = h('span', { class: 'todo-current muted' })
  #list = h('ul')
  element = h('details', { class: 'todos' }, h('summary', {}, icon('list'), this.#count, this.#current), this.#list)

  /** @param {Todos} todos */
  show ({ items }) {
    const done = items.filter(({ state }) => state === 'completed').length
    const current = items.find(({ state }) => state === 'in_progress')
    this.element.hidden = items.length === 0
    this.#count.textContent = words.common.ofTotal(done, items.length)
    this.#current.textContent = current?.active ?? (done === items.length ? words.tools.allDone : '')
    this.#list.replaceChildren(...items.map(({ text, state }) => h('li', { 'data-state': state },
      icon(state === 'completed' ? 'check' : state === 'in_progress' ? 'chevron' : 'minus'),
      h('span', {}, h('span', { class: 'visually-hidden' }, words.tools.todo(states[state])), text))))
  }
}
