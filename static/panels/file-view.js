import { paths, send } from '../lib/api.js'
import { h } from '../lib/dom.js'
import { formatBytes, formatDateTime } from '../lib/format.js'
import { icon } from '../lib/icons.js'
import { words } from '../lib/words.js'
import { codeBlock, highlight } from '../markdown/code.js'
import { isPictureName, maxShownBytes, pictureOfFile } from '../lib/pictures.js'
import { button, iconButton, notice } from '../views/notice.js'
import { etagOf, FileEditor, problemOf } from './file-editor.js'
import { FileSearch, markIn } from './file-search.js'

/** The rest of a larger file is only in its download. */
const previewBytes = 256 * 1024

const languages = { cjs: 'js', htm: 'html', md: 'markdown', mjs: 'js', py: 'python', rb: 'ruby', rs: 'rust', yml: 'yaml' }

/** One file: its highlighted text, to be searched and edited, and buttons to download and delete it. */
export class FileView {
  #content = h('div', { class: 'file-content' }, h('p', { class: 'loading' }, h('span', { class: 'spinner' }), words.common.loading))

  #title = h('h3', { class: 'file-name', tabindex: '-1' })
  #about = h('p', { class: 'muted small' })
  #search = new FileSearch()
  #edit = h('button', {
    type: 'button', class: 'quiet', 'aria-label': words.common.edit, hidden: true, onclick: () => this.#startEditing()
  }, icon('pencil'))

  /** What can be edited. @type {{text: string, etag: string} | undefined} */
  #file
  #editor

  constructor (sandboxId, entry, { onBack, onRemove }) {
    this.entry = entry
    this.#title.textContent = this.#title.title = entry.name
    this.#describe(entry)
    this.path = paths.content(sandboxId, entry.path)
    this.element = h('div', { class: 'file-view' },
      h('div', { class: 'file-head' },
        h('button', { type: 'button', class: 'quiet', 'aria-label': words.files.backToList, onclick: onBack }, icon('back')),
        this.#title,
        this.#edit,
        h('a', { class: 'button small', href: this.path, download: entry.name.split('/').at(-1) }, icon('download'),
          words.files.download),
        iconButton('trash', words.common.delete, onRemove)),
      this.#about,
      this.#search.element,
      this.#content)
  }

  #describe ({ size, modifiedAt }) {
    this.#about.textContent = [formatBytes(size), formatDateTime(modifiedAt), this.entry.mode].join(' · ')
  }

  focus () {
    this.#title.focus()
  }

  /** @returns whether it may be left, which somebody is asked who has not saved */
  async mayClose () {
    return this.#editor === undefined || await this.#editor.mayClose()
  }

  /** Shows the file as it is now; not to somebody who edits it. */
  async load () {
    if (this.#editor) return
    try {
      const file = await this.#read()
      this.#show(file, await this.#pictureOf(file))
    } catch (error) {
      const again = button(words.common.tryAgain, () => this.load())
      this.#content.replaceChildren(notice(error, { dismissible: false, actions: [again] }))
    }
  }

  /** If it is one, and not too large. */
  async #pictureOf ({ data, size }) {
    const { name } = this.entry
    if (data.length === size && isPictureName(name)) return await pictureOfFile(new Blob([data]), name)
  }

  #show ({ data, size, modifiedAt, etag }, picture) {
    this.#describe({ size, modifiedAt })
    this.#file = undefined
    this.#edit.hidden = true
    this.#search.in(undefined)
    const isText = !data.subarray(0, 8192).includes(0)
    if (picture && !isText) return this.#content.replaceChildren(picture)
    if (!isText) {
      return this.#content.replaceChildren(h('p', { class: 'empty' }, words.files.notText))
    }
    const text = data.subarray(0, previewBytes)
    if (text.length === size && etag) this.#allowEditing(data, etag)
    if (data.length === 0) return this.#content.replaceChildren(h('p', { class: 'empty' }, words.files.emptyFile))
    const figure = codeBlock(new TextDecoder().decode(text), languageOf(this.entry.name))
    const rest = size - text.length
    const note = rest > 0 && h('p', { class: 'muted small' }, words.files.rest(formatBytes(rest)))
    this.#content.replaceChildren(picture ?? '', figure, note || '')
    const code = figure.querySelector('code')
    this.#search.in({ text: code.textContent, mark: (...found) => markIn(code, ...found), leave: () => this.focus() })
    // It makes other nodes of the text.
    highlight(figure).then(() => this.#search.again())
  }

  /** Not of bytes that are no text, which saving would change. */
  #allowEditing (data, etag) {
    try {
      const text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(data)
      const problem = problemOf(text)
      this.#file = { text, etag }
      this.#edit.hidden = false
      this.#edit.disabled = problem !== undefined
      this.#edit.title = problem ?? words.common.edit
    } catch {}
  }

  #startEditing () {
    this.#editor = new FileEditor({ path: this.path, ...this.#file }, {
      onSaved: (text, etag, entry) => {
        this.#file = { text, etag }
        this.#describe(entry)
      },
      onClose: () => this.#stopEditing(),
      onReload: () => this.#stopEditing({ asks: false })
    })
    this.#edit.hidden = true
    this.#content.replaceChildren(this.#editor.element)
    this.#search.in(this.#editor.target)
    this.#editor.focus()
  }

  async #stopEditing ({ asks = true } = {}) {
    if (asks && !await this.#editor.mayClose()) return
    this.#editor = undefined
    await this.load()
    this.focus()
  }

  /** Reads the beginning of the file, or a picture, and cancels the rest. */
  async #read () {
    const response = await send('GET', this.path, { accept: '*/*' })
    const size = Number(response.headers.get('content-length'))
    const reader = response.body.getReader()
    const most = isPictureName(this.entry.name) && size <= maxShownBytes ? maxShownBytes : previewBytes
    const data = new Uint8Array(Math.min(size, most))
    let length = 0
    while (length < data.length) {
      const { done, value } = await reader.read()
      if (done) break
      const part = value.subarray(0, data.length - length)
      data.set(part, length)
      length += part.length
    }
    reader.cancel()
    return { data: data.subarray(0, length), size, modifiedAt: response.headers.get('last-modified'), etag: etagOf(response) }
  }
}

function languageOf (name) {
  const [, extension = ''] = /\.(\w{1,10})$/.exec(name) ?? []
  return languages[extension] ?? extension
}
