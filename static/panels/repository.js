import { getJson, paths, send } from '../lib/api.js'
import { announce, h } from '../lib/dom.js'
import { icon } from '../lib/icons.js'
import { button, notice } from '../views/notice.js'
import { BranchPicker } from './branch-picker.js'
import { changedFile } from './changed-file.js'
import { hunksIn, patchView } from './patch.js'

const none = {
  none: 'There is no git repository in the workspace, so nothing can be compared.',
  no_git: 'This sandbox has no git, so nothing can be compared.'
}

/** The changes in the repository of the workspace: staged and not, each file with its diff; commit and branches. */
export class RepositoryView {
  #sandboxId
  #onNone
  #problems = h('div')
  #content = h('div', { class: 'repository-content' })
  #message = h('textarea', {
    rows: '2', 'aria-label': 'Message of the commit', placeholder: 'What has changed, and why', onkeydown: (event) => this.#onKey(event)
  })

  #commit
  #branch
  /** The files whose diffs are open. */
  #opened = new Set()
  #loads = 0

  /** @param {{onNone: () => void}} options shows what is known without a repository */
  constructor (sandbox, { onNone }) {
    this.#sandboxId = sandbox.id
    this.#onNone = onNone
    this.#branch = new BranchPicker({ onSwitch: (name, create) => this.#switchTo(name, create) })
    this.#commit = button('Commit', () => this.#submit(), { kind: 'primary small', symbol: 'check' })
    this.element = h('div', { class: 'repository' }, this.#problems, this.#content)
  }

  async load () {
    const load = ++this.#loads
    this.#problems.replaceChildren()
    try {
      const changes = await getJson(paths.changes(this.#sandboxId))
      if (load === this.#loads) this.#show(changes)
    } catch (error) {
      this.#content.replaceChildren()
      this.#problems.replaceChildren(notice(error, { dismissible: false, actions: [button('Try again', () => this.load())] }))
    }
  }

  #show (changes) {
    if (!changes.repository) {
      return this.#content.replaceChildren(h('div', { class: 'empty stack' },
        h('p', {}, none[changes.reason]), button('What Claude edited', () => this.#onNone(), { kind: 'small' })))
    }
    const { staged, truncated } = changes
    const changed = [...changes.changed, ...changes.untracked]
    this.#commit.disabled = staged.length === 0
    this.#branch.show(changes)
    this.#content.replaceChildren(
      this.#branch.element,
      ...staged.length > 0 ? [this.#list('staged', staged)] : [],
      ...changed.length > 0 ? [this.#list('changed', changed)] : [],
      ...staged.length + changed.length === 0 ? [h('p', { class: 'empty' }, 'Nothing has changed since the last commit.')] : [],
      ...truncated ? [h('p', { class: 'muted small' }, 'More changes are not shown.')] : [],
      h('div', { class: 'commit', hidden: staged.length + changed.length === 0 },
        this.#message,
        h('div', { class: 'commit-actions' },
          h('span', { class: 'muted small' }, staged.length === 0 ? 'Stage what belongs to the commit.' : ['', h('kbd', {}, 'Ctrl'), ' ', h('kbd', {}, 'Enter')]),
          this.#commit)))
  }

  /** @param {'staged' | 'changed'} name */
  #list (name, changes) {
    const staged = name === 'staged'
    const [verb, symbol, action] = staged ? ['Unstage', 'minus', 'unstage'] : ['Stage', 'plus', 'stage']
    const act = (paths, at) => this.#act(action, paths, { name, at })
    return h('section', { 'data-list': name },
      h('div', { class: 'change-head' },
        h('h3', { tabindex: '-1' }, `${staged ? 'Staged' : 'Changes'} `, h('span', { class: 'muted' }, String(changes.length))),
        button(`${verb} all`, () => act(changes.flatMap(pathsOf), 0), { kind: 'small' })),
      h('ul', { class: 'change-list' }, changes.map((change, at) => changedFile(change, {
        opened: this.#opened,
        key: `${name} ${change.path}`,
        load: () => this.#difference(change, staged),
        action: h('button', {
          type: 'button', class: 'quiet', 'aria-label': `${verb} ${change.path}`, title: verb, onclick: () => act(pathsOf(change), at)
        }, icon(symbol))
      }))))
  }

  async #difference ({ path, from }, staged) {
    if (path.endsWith('/')) return [h('p', { class: 'muted small' }, 'A repository of its own.')]
    const query = { path, ...(staged && { staged }), ...(from && { from }) }
    const { diff, binary, truncated } = await getJson(paths.difference(this.#sandboxId, query))
    const hunks = hunksIn(diff)
    const text = binary ? 'This is not a text file.' : from ? `Renamed from ${from}; its content is the same.` : 'Its content is the same.'
    return [
      hunks.length > 0 ? patchView(hunks) : h('p', { class: 'muted small' }, text),
      truncated && h('p', { class: 'muted small' }, 'The rest of this change is too long to be shown.')
    ].filter(Boolean)
  }

  /** Changes what is staged; the focus stays in the list, at the row that takes the place. */
  async #act (action, paths_, { name, at }) {
    await this.#do(() => send('POST', paths.changes(this.#sandboxId, action), { json: { paths: paths_ } }), {
      done: action === 'stage' ? 'Staged' : 'Unstaged',
      focus: () => {
        const rows = this.#content.querySelectorAll(`[data-list="${name}"] .change > .quiet`)
        return rows[Math.min(at, rows.length - 1)] ?? this.#content.querySelector('.change-head h3')
      }
    })
  }

  async #submit () {
    const message = this.#message.value
    if (this.#commit.disabled) return
    if (message.trim() === '') return this.#message.focus()
    await this.#do(async () => {
      await send('POST', paths.changes(this.#sandboxId, 'commit'), { json: { message } })
      this.#message.value = ''
    }, { done: 'Committed', focus: () => this.#branch.control })
  }

  async #switchTo (name, create) {
    await this.#do(() => send('POST', paths.changes(this.#sandboxId, 'branch'), { json: { name, ...(create && { create }) } }), {
      done: `On the branch ${name}`, focus: () => this.#branch.control
    })
  }

  /** Does something in the repository, and shows what has become of it; or why it could not be done. */
  async #do (work, { done, focus }) {
    this.element.inert = true
    let failure
    try {
      await work()
      announce(done)
    } catch (error) {
      failure = error
    }
    await this.load()
    this.element.inert = false
    if (failure) this.#problems.replaceChildren(notice(failure))
    else focus()?.focus()
  }

  #onKey (event) {
    if (event.key !== 'Enter' || !(event.ctrlKey || event.metaKey) || event.shiftKey) return
    event.preventDefault()
    this.#submit()
  }
}

/** What git has to be told of one change: both names of a renamed file. */
function pathsOf ({ path, from, kind }) {
  return kind === 'renamed' && from ? [from, path] : [path.replace(/\/$/, '')]
}
