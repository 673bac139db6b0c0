import { getJson, paths, send } from '../lib/api.js'
import { announce, h } from '../lib/dom.js'
import { icon } from '../lib/icons.js'
import { words } from '../lib/words.js'
import { button, notice } from '../views/notice.js'
import { BranchPicker } from './branch-picker.js'
import { changedFile } from './changed-file.js'
import { hunksIn, patchView } from './patch.js'

const none = { none: words.changes.noRepository, no_git: words.changes.noGit }

/** The changes in the repository of the workspace: staged and not, each file with its diff; commit and branches. */
export class RepositoryView {
  #sandboxId
  #onNone
  #problems = h('div')
  #content = h('div', { class: 'repository-content' })
  #message = h('textarea', {
    rows: '2',
    'aria-label': words.changes.message,
    placeholder: words.changes.messageExample,
    onkeydown: (event) => this.#onKey(event)
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
    this.#commit = button(words.changes.commit, () => this.#submit(), { kind: 'primary small', symbol: 'check' })
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
      const again = button(words.common.tryAgain, () => this.load())
      this.#problems.replaceChildren(notice(error, { dismissible: false, actions: [again] }))
    }
  }

  #show (changes) {
    if (!changes.repository) {
      return this.#content.replaceChildren(h('div', { class: 'empty stack' },
        h('p', {}, none[changes.reason]), button(words.changes.whatClaudeEdited, () => this.#onNone(), { kind: 'small' })))
    }
    const { staged, truncated } = changes
    const changed = [...changes.changed, ...changes.untracked]
    this.#commit.disabled = staged.length === 0
    this.#branch.show(changes)
    this.#content.replaceChildren(
      this.#branch.element,
      ...staged.length > 0 ? [this.#list('staged', staged)] : [],
      ...changed.length > 0 ? [this.#list('changed', changed)] : [],
      ...staged.length + changed.length === 0 ? [h('p', { class: 'empty' }, words.changes.nothingChanged)] : [],
      ...truncated ? [h('p', { class: 'muted small' }, words.changes.moreChanges)] : [],
      h('div', { class: 'commit', hidden: staged.length + changed.length === 0 },
        this.#message,
        h('div', { class: 'commit-actions' },
          h('span', { class: 'muted small' }, staged.length === 0
            ? words.changes.stageFirst
            : [h('kbd', {}, words.keys.names.Ctrl), ' ', h('kbd', {}, words.keys.names.Enter)]),
          this.#commit)))
  }

  /** @param {'staged' | 'changed'} name */
  #list (name, changes) {
    const staged = name === 'staged'
    const { changes: say } = words
    const [symbol, action] = staged ? ['minus', 'unstage'] : ['plus', 'stage']
    const act = (paths, at) => this.#act(action, paths, { name, at })
    return h('section', { 'data-list': name },
      h('div', { class: 'change-head' },
        h('h3', { tabindex: '-1' }, staged ? say.staged : words.common.changes, ' ', h('span', { class: 'muted' }, String(changes.length))),
        button(staged ? say.unstageAll : say.stageAll, () => act(changes.flatMap(pathsOf), 0), { kind: 'small' })),
      h('ul', { class: 'change-list' }, changes.map((change, at) => changedFile(change, {
        opened: this.#opened,
        key: `${name} ${change.path}`,
        load: () => this.#difference(change, staged),
        action: h('button', {
          type: 'button',
          class: 'quiet',
          'aria-label': staged ? say.unstagePath(change.path) : say.stagePath(change.path),
          title: staged ? say.unstage : say.stage,
          onclick: () => act(pathsOf(change), at)
        }, icon(symbol))
      }))))
  }

  async #difference ({ path, from }, staged) {
    if (path.endsWith('/')) return [h('p', { class: 'muted small' }, words.changes.ownRepository)]
    const query = { path, ...(staged && { staged }), ...(from && { from }) }
    const { diff, binary, truncated } = await getJson(paths.difference(this.#sandboxId, query))
    const hunks = hunksIn(diff)
    const text = binary ? words.common.notText : from ? words.changes.renamed(from) : words.changes.sameContent
    return [
      hunks.length > 0 ? patchView(hunks) : h('p', { class: 'muted small' }, text),
      truncated && h('p', { class: 'muted small' }, words.changes.tooLong)
    ].filter(Boolean)
  }

  /** Changes what is staged; the focus stays in the list, at the row that takes the place. */
  async #act (action, paths_, { name, at }) {
    await this.#do(() => send('POST', paths.changes(this.#sandboxId, action), { json: { paths: paths_ } }), {
      done: action === 'stage' ? words.changes.staged : words.changes.unstaged,
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
    }, { done: words.changes.committed, focus: () => this.#branch.control })
  }

  async #switchTo (name, create) {
    await this.#do(() => send('POST', paths.changes(this.#sandboxId, 'branch'), { json: { name, ...(create && { create }) } }), {
      done: words.changes.onBranch(name), focus: () => this.#branch.control
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
