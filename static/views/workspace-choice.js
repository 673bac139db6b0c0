import { getJson, paths } from '../lib/api.js'
import { h } from '../lib/dom.js'
import { formatList, shortId } from '../lib/format.js'
import { words } from '../lib/words.js'
import { button } from './notice.js'
import { lastSpec, rememberSpec } from './specs.js'

/** Values of the choice that are no names: a volume's name has neither of these characters. */
const another = '+'
const none = '-/'

/** Which workspace a new sandbox gets: one of the account's volumes, a new one, or none. */
export class WorkspaceChoice {
  #select = h('select', { id: 'workspace', onchange: () => this.#chosen() })
  #name = h('input', {
    id: 'workspace-name', autocomplete: 'off', spellcheck: 'false', placeholder: words.start.exampleName, maxlength: '32'
  })

  #naming = h('div', { class: 'field', hidden: true },
    h('label', { for: 'workspace-name' }, words.start.newWorkspaceName), this.#name)

  #note = h('p', { class: 'muted small', role: 'status' })
  #volumes = []
  #sandboxes = []
  #openSandbox

  constructor ({ openSandbox }) {
    this.#openSandbox = openSandbox
    this.element = h('div', { class: 'workspace-choice' },
      h('label', { for: 'workspace' }, words.start.workspace), this.#select, this.#naming, this.#note)
    this.#fill(lastSpec().volume?.name ?? none)
  }

  /** Asks for the volumes. Without an answer, there is the last choice. @param {object[]} sandboxes those that run */
  async load (sandboxes) {
    this.#sandboxes = sandboxes
    this.#volumes = await getJson(paths.volumes).then(({ volumes }) => volumes, () => this.#volumes)
    this.#fill(this.#select.value)
  }

  /** The options of the new sandbox; undefined, with the focus on the field, while its workspace has no name. */
  take () {
    const { volume, ...rest } = lastSpec()
    const chosen = this.#select.value
    const name = chosen === another ? this.#name.value.trim() : chosen
    if (name === '') {
      this.#name.focus()
      this.#note.textContent = words.start.giveName
      return
    }
    const spec = name === none ? rest : { ...rest, volume: name === volume?.name ? volume : { name } }
    rememberSpec(spec)
    return spec
  }

  #fill (value) {
    const names = this.#volumes.map(({ name }) => name)
    const option = (value, text) => h('option', { value }, text)
    const isNew = value !== another && value !== none && !names.includes(value)
    this.#select.replaceChildren(
      ...isNew ? [option(value, words.start.newOne(value))] : [],
      ...names.map((name) => option(name, this.#usersOf(name).length > 0 ? words.start.inUse(name) : name)),
      option(another, words.start.newWorkspace),
      option(none, words.start.noWorkspace))
    this.#select.value = value
    this.#chosen()
  }

  #usersOf (name) {
    return this.#volumes.find((volume) => volume.name === name)?.sandboxes ?? []
  }

  /** Says whose work the new sandbox would share. */
  #chosen () {
    const { value } = this.#select
    const wasNaming = !this.#naming.hidden
    this.#naming.hidden = value !== another
    if (value === another && !wasNaming) this.#name.focus()
    const users = this.#usersOf(value)
    if (users.length === 0) return this.#note.replaceChildren()
    const nameOf = (id) => this.#sandboxes.find((sandbox) => sandbox.id === id)?.name || shortId(id)
    this.#note.replaceChildren(
      words.start.shared(value, formatList(users.map(nameOf))), ' ',
      button(words.start.continueThere, () => this.#openSandbox(users[0]), { kind: 'small' }))
  }
}
