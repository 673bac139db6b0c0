import { getJson, paths, send } from '../lib/api.js'
import { announce, ask, h } from '../lib/dom.js'
import { bytes } from '../lib/format.js'
import { icon } from '../lib/icons.js'
import { button, notice } from '../views/notice.js'
import { FileView } from './file-view.js'
import { uploadFiles, uploadButton } from './upload.js'

/** The CLI's own, with what it remembers: shown as conversations. */
const claudeDirectory = '.claude-sandbox'

/** The files of the workspace: a tree, what has changed, one of them in full; files that are dropped are uploaded. */
export class FilesPanel {
  #sandbox
  #since
  #list = h('div', { class: 'file-list' })
  #problems = h('div')
  #progress = h('div', { class: 'uploads' })
  #tabs
  #tab = 'all'
  /** Directories that are open, by path, so that a fresh list looks like the one before. */
  #opened = new Set()

  constructor (sandbox, { since }) {
    this.#sandbox = sandbox
    this.#since = since
    const tab = (name, label) => h('button', {
      type: 'button', class: 'tab', 'aria-pressed': String(name === this.#tab), onclick: () => this.#choose(name)
    }, label)
    this.#tabs = { all: tab('all', 'All files'), changed: tab('changed', 'Changed in this run') }
    this.element = h('div', { class: 'files', ondragover: (event) => this.#drag(event), ondrop: (event) => this.#drop(event) },
      h('div', { class: 'panel-tools' },
        h('div', { class: 'tabs' }, Object.values(this.#tabs)),
        uploadButton((files) => this.#upload(files)),
        h('button', { type: 'button', class: 'quiet', 'aria-label': 'Refresh', title: 'Refresh', onclick: () => this.shown() }, icon('sync'))),
      this.#progress, this.#problems, this.#list)
    this.element.addEventListener('dragleave', ({ target }) => { if (target === this.element) delete this.element.dataset.drag })
  }

  async shown () {
    this.#problems.replaceChildren()
    try {
      await (this.#tab === 'all' ? this.#showAll() : this.#showChanged())
    } catch (error) {
      this.#list.replaceChildren()
      this.#problems.replaceChildren(notice(error, { dismissible: false, actions: [button('Try again', () => this.shown())] }))
    }
  }

  #choose (name) {
    this.#tab = name
    for (const [one, element] of Object.entries(this.#tabs)) element.setAttribute('aria-pressed', String(one === name))
    this.shown()
  }

  async #showAll () {
    const { workdir, volume } = this.#sandbox
    const others = volume && !`${volume.mountPath}/`.startsWith(`${workdir}/`) ? [volume.mountPath] : []
    this.#list.replaceChildren(await this.#directory(workdir), ...await Promise.all(others.map(async (path) =>
      h('section', {}, h('h3', { class: 'muted small' }, `Volume ${path}`), await this.#directory(path)))))
  }

  async #showChanged () {
    const since = this.#since()
    const { entries, truncated } = await getJson(paths.files(this.#sandbox.id, { since }))
    this.#list.replaceChildren(
      h('p', { class: 'muted small' }, `Written since ${new Date(since).toLocaleTimeString()}`),
      entries.length === 0
        ? h('p', { class: 'empty' }, 'Nothing has changed yet.')
        : h('ul', { class: 'tree' }, entries.map((entry) => this.#file(entry))),
      truncated ? more() : '')
  }

  async #directory (path) {
    const { entries, truncated } = await getJson(paths.files(this.#sandbox.id, { path }))
    const rows = entries.filter(({ name }) => name !== claudeDirectory).map((entry) => entry.type === 'directory' ? this.#folder(entry) : this.#file(entry))
    if (rows.length === 0) return h('p', { class: 'empty' }, 'Nothing here yet. Drop files to upload them.')
    const list = h('ul', { class: 'tree' }, await Promise.all(rows))
    if (truncated) list.append(h('li', {}, more()))
    return list
  }

  async #folder ({ name, path }) {
    const content = h('div')
    const fill = async () => {
      try {
        content.replaceChildren(await this.#directory(path))
      } catch (error) {
        content.replaceChildren(h('p', { class: 'muted small' }, error.message))
      }
    }
    const folder = h('details', { open: this.#opened.has(path) },
      h('summary', { class: 'file' }, icon('chevron'), icon('folder'), h('span', { class: 'file-name' }, name)), content)
    if (folder.open) await fill()
    folder.addEventListener('toggle', () => {
      if (folder.open === this.#opened.has(path)) return
      if (folder.open) this.#opened.add(path)
      else this.#opened.delete(path)
      if (folder.open) fill()
    })
    return h('li', {}, folder)
  }

  #file (entry) {
    const { name, type, size, target } = entry
    return h('li', {}, h('button', {
      type: 'button', class: 'file', disabled: type === 'other', onclick: () => this.#open(entry)
    },
    icon('file'), h('span', { class: 'file-name' }, name, target && h('span', { class: 'muted' }, ` → ${target}`)),
    type === 'file' && h('span', { class: 'muted small' }, bytes(size))))
  }

  #open (entry) {
    const view = new FileView(this.#sandbox.id, entry, {
      onBack: () => this.shown(), onRemove: () => this.#remove(entry)
    })
    this.#list.replaceChildren(view.element)
    view.load()
  }

  async #remove ({ name, path }) {
    if (!await ask({ title: 'Delete this file?', text: name, action: 'Delete' })) return
    try {
      await send('DELETE', paths.content(this.#sandbox.id, path))
      announce('Deleted')
      await this.shown()
    } catch (error) {
      this.#problems.replaceChildren(notice(error))
    }
  }

  #drag (event) {
    if (!event.dataTransfer.types.includes('Files')) return
    event.preventDefault()
    this.element.dataset.drag = 'yes'
  }

  #drop (event) {
    event.preventDefault()
    delete this.element.dataset.drag
    this.#upload([...event.dataTransfer.files])
  }

  async #upload (files) {
    await uploadFiles(this.#sandbox, files, this.#progress)
    await this.shown()
  }
}

function more () {
  return h('p', { class: 'muted small' }, 'There are more than these.')
}
