import { paths, send } from '../lib/api.js'
import { announce, confirmDialog, h } from '../lib/dom.js'
import { words } from '../lib/words.js'
import { button, iconButton, notice } from '../views/notice.js'
import { droppedFiles, fileChooser } from './chosen-files.js'
import { FileTree } from './file-tree.js'
import { FileView } from './file-view.js'
import { Upload } from './upload.js'

/** The files of the workspace: a tree, recent changes, and a viewer. Dropped files are uploaded. */
export class FilesPanel {
  #sandbox
  #since
  #tree
  #list = h('div', { class: 'file-list' })
  #problems = h('div')
  #uploads = h('div', { class: 'uploads' })
  #tabs
  #tab = 'all'
  /** The file that is open. */
  #view

  constructor (sandbox, { since }) {
    this.#sandbox = sandbox
    this.#since = since
    this.#tree = new FileTree(sandbox.id, { onOpen: (entry) => this.#open(entry) })
    const tab = (name, label) => h('button', {
      type: 'button', class: 'tab', 'aria-pressed': String(name === this.#tab), onclick: () => this.#selectTab(name)
    }, label)
    this.#tabs = { all: tab('all', words.files.all), changed: tab('changed', words.files.changedInRun) }
    const upload = (chosen) => this.#upload(chosen, sandbox.workdir)
    this.element = h('div', {
      class: 'files',
      ondragover: (event) => this.#drag(event),
      ondragleave: (event) => this.#drag(event, false),
      ondrop: (event) => this.#drop(event)
    },
    h('div', { class: 'panel-tools' },
      h('div', { class: 'tabs', role: 'group', 'aria-label': words.files.which }, Object.values(this.#tabs)),
      fileChooser({ label: words.files.upload, symbol: 'upload', onFiles: upload }),
      fileChooser({ label: words.files.uploadFolder, symbol: 'folder', folder: true, onFiles: upload }),
      iconButton('sync', words.common.refresh, () => this.shown())),
    this.#uploads, this.#problems, this.#list)
  }

  /** Refreshes the list, or the open file. */
  async shown () {
    if (this.#view) return await this.#view.load()
    this.#problems.replaceChildren()
    try {
      this.#list.replaceChildren(...this.#tab === 'all' ? await this.#all() : [await this.#tree.changed(this.#since())])
    } catch (error) {
      this.#list.replaceChildren()
      const again = button(words.common.tryAgain, () => this.shown())
      this.#problems.replaceChildren(notice(error, { dismissible: false, actions: [again] }))
    }
  }

  async #selectTab (name) {
    if (!await this.#leave()) return
    this.#tab = name
    this.#view = undefined
    for (const [tab, element] of Object.entries(this.#tabs)) element.setAttribute('aria-pressed', String(tab === name))
    this.shown()
  }

  async #all () {
    const { workdir, volume } = this.#sandbox
    const others = volume && !`${volume.mountPath}/`.startsWith(`${workdir}/`) ? [volume.mountPath] : []
    const title = (path) => h('h3', { class: 'muted small' }, words.files.volume(path))
    return await Promise.all([this.#tree.directory(workdir), ...others.map(async (path) =>
      h('section', { 'data-path': path }, title(path), await this.#tree.directory(path)))])
  }

  #open (entry) {
    this.#view = new FileView(this.#sandbox.id, entry, {
      onBack: async () => { if (await this.#leave()) await this.#back(entry) }, onRemove: () => this.#remove(entry)
    })
    this.#list.replaceChildren(this.#view.element)
    this.#view.load()
    this.#view.focus()
  }

  /** @returns whether the open file, if there is one, may be left: somebody may not have saved it */
  async #leave () {
    return this.#view === undefined || await this.#view.mayClose()
  }

  /** Returns to the list and focuses the entry that was open. */
  async #back ({ name }) {
    this.#view = undefined
    await this.shown()
    const row = [...this.#list.querySelectorAll('button.file')].find(({ title }) => title === name)
    const target = row ?? this.#tabs[this.#tab]
    target.focus()
  }

  async #remove (entry) {
    const { name, path } = entry
    if (!await confirmDialog({ title: words.files.deleteThis, text: name, action: words.common.delete })) return
    try {
      await send('DELETE', paths.content(this.#sandbox.id, path))
      announce(words.files.deleted)
      await this.#back(entry)
    } catch (error) {
      this.#problems.replaceChildren(notice(error))
    }
  }

  #drag (event, over = true) {
    if (!event.dataTransfer.types.includes('Files')) return
    event.preventDefault()
    const target = over ? this.#dropTarget(event) : undefined
    for (const element of [this.element, ...this.element.querySelectorAll('[data-drag]')]) {
      if (element !== target) delete element.dataset.drag
    }
    if (target) target.dataset.drag = 'yes'
  }

  /** The directory under the pointer, or the whole panel. */
  #dropTarget ({ target }) {
    return target.closest('[data-path]') ?? this.element
  }

  async #drop (event) {
    this.#drag(event, false)
    const { path = this.#sandbox.workdir } = this.#dropTarget(event).dataset
    await this.#upload(await droppedFiles(event.dataTransfer), path)
  }

  async #upload (chosen, directory) {
    const upload = new Upload(this.#sandbox.id, directory, chosen)
    this.#uploads.append(upload.element)
    await upload.start()
    await this.shown()
  }
}
