import { getJson, paths } from '../lib/api.js'
import { h } from '../lib/dom.js'
import { formatBytes, formatTime } from '../lib/format.js'
import { icon } from '../lib/icons.js'
import { words } from '../lib/words.js'

/** The CLI's own state. Its conversations are shown in the chat. */
const claudeDirectory = '.claude-sandbox'

/** The directories and files of a sandbox; a directory is loaded when it is opened. */
export class FileTree {
  /** Paths of open directories, so that they stay open after a refresh. */
  #opened = new Set()

  constructor (sandboxId, { onOpen }) {
    this.sandboxId = sandboxId
    this.onOpen = onOpen
  }

  async directory (path) {
    const { entries, truncated } = await getJson(paths.files(this.sandboxId, { path }))
    const shown = entries.filter(({ name }) => name !== claudeDirectory)
    if (shown.length === 0) return h('p', { class: 'empty' }, words.files.empty)
    const rows = shown.map((entry) => entry.type === 'directory' ? this.#folder(entry) : this.#file(entry))
    return h('ul', { class: 'tree' }, await Promise.all(rows), truncated && h('li', {}, more()))
  }

  /** All files written since the given time. */
  async changed (since) {
    const { entries, truncated } = await getJson(paths.files(this.sandboxId, { since }))
    return h('div', {},
      h('p', { class: 'muted small' }, words.files.changedSince(formatTime(since))),
      entries.length === 0
        ? h('p', { class: 'empty' }, words.files.unchanged)
        : h('ul', { class: 'tree' }, entries.map((entry) => this.#file(entry))),
      truncated && more())
  }

  async #folder ({ name, path }) {
    const content = h('div')
    const fill = async () => {
      content.replaceChildren(await this.directory(path).catch((error) => h('p', { class: 'muted small' }, error.message)))
    }
    const folder = h('details', { open: this.#opened.has(path), 'data-path': path },
      h('summary', { class: 'file', title: name }, icon('chevron'), icon('folder'), h('span', { class: 'file-name' }, name)), content)
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
      type: 'button', class: 'file', title: name, disabled: type === 'other', onclick: () => this.onOpen(entry)
    },
    icon('file'), h('span', { class: 'file-name' }, name, target && h('span', { class: 'muted' }, ` → ${target}`)),
    type === 'file' && h('span', { class: 'muted small' }, formatBytes(size))))
  }
}

function more () {
  return h('p', { class: 'muted small' }, words.files.moreEntries)
}
