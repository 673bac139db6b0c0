import { announce, h } from '../lib/dom.js'
import { formatBytes } from '../lib/format.js'
import { icon } from '../lib/icons.js'
import { picture, pictureTypes, readBase64, typeOf } from '../lib/pictures.js'
import { words } from '../lib/words.js'

const maxPictures = 10
/** Of one picture, in bytes: the service takes 3.5 MB of base64, */
const maxBytes = 2_625_000
/** and this many characters of it in all, */
const maxDataLength = 11_000_000
/** which are so many bytes. Both are told as what is surely taken. */
const [saidBytes, saidTotalBytes] = [2_600_000, 8_000_000]

/** The pictures that go with the next prompt. One can remove them until it is sent. */
export class Attachments {
  #pictures = []
  #onChange
  #onFiles
  #list = h('ul', { 'aria-label': words.composer.pictures })
  #problem = h('p', { class: 'attachment-problem', role: 'alert' })
  #input = h('input', {
    type: 'file', multiple: true, hidden: true, onchange: () => this.#addChosen()
  })

  element = h('div', { class: 'attachments', hidden: true }, this.#list, this.#problem, this.#input)
  button = h('button', {
    type: 'button',
    class: 'quiet attach',
    title: words.composer.attach,
    'aria-label': words.composer.attach,
    onclick: () => this.#input.click()
  }, icon('clip'))

  /** How many are being read. */
  reading = 0

  /**
   * @param {{onChange: () => void, onFiles: (files: File[]) => void}} listeners for when there are others, and when all
   * are read; for files that are no pictures
   */
  constructor ({ onChange, onFiles }) {
    this.#onChange = onChange
    this.#onFiles = onFiles
  }

  get empty () {
    return this.#pictures.length === 0
  }

  /** Adds the pictures among the files, and says why it does not add one. The others go to the workspace. */
  async add (files) {
    this.#problem.textContent = ''
    this.reading++
    const isPicture = ({ type }) => pictureTypes.includes(type)
    const others = files.filter((file) => !isPicture(file))
    if (others.length > 0) this.#onFiles(others)
    for (const file of files.filter(isPicture)) {
      this.#problem.textContent = await this.#addFile(file) ?? this.#problem.textContent
    }
    this.reading--
    this.#show()
  }

  /** Takes pasted files. Where there is text as well, as from a spreadsheet, the text is meant. */
  paste (event) {
    const files = [...event.clipboardData.files]
    if (files.length === 0 || event.clipboardData.types.includes('text/plain')) return
    event.preventDefault()
    this.add(files)
  }

  /** Removes and returns them. @returns {{ mediaType: string, data: string }[]} */
  take () {
    const taken = this.#pictures
    this.put([])
    return taken
  }

  /** Those of a stored prompt need not be there any more. */
  put (pictures) {
    this.#pictures = pictures.filter(({ data }) => typeOf(data) !== undefined)
    this.#problem.textContent = ''
    this.#show()
  }

  async #addChosen () {
    const files = [...this.#input.files]
    // So that the same file can be chosen again.
    this.#input.value = ''
    await this.add(files)
  }

  /** @returns what is wrong with it */
  async #addFile (file) {
    const { name } = file
    if (this.#pictures.length === maxPictures) return words.composer.tooManyPictures(maxPictures)
    if (file.size > maxBytes) return words.composer.pictureTooLarge(name, formatBytes(saidBytes))
    const data = await readBase64(file).catch(() => undefined)
    if (data === undefined) return words.composer.pictureUnreadable(name)
    const mediaType = typeOf(data)
    if (mediaType === undefined) return words.composer.pictureUnknown(name)
    const length = this.#pictures.reduce((sum, other) => sum + other.data.length, data.length)
    if (length > maxDataLength) return words.composer.picturesTooMuch(name, formatBytes(saidTotalBytes))
    this.#pictures = [...this.#pictures, { mediaType, data }]
    announce(words.composer.attached)
  }

  #remove (index) {
    this.put(this.#pictures.toSpliced(index, 1))
    this.button.focus()
  }

  #show () {
    this.#list.replaceChildren(...this.#pictures.map((one, index) => h('li', {},
      picture(one, words.common.picture(index + 1)),
      h('button', {
        type: 'button', class: 'quiet', 'aria-label': words.composer.removePicture(index + 1), onclick: () => this.#remove(index)
      }, icon('cross')))))
    this.element.hidden = this.empty && this.#problem.textContent === ''
    this.#onChange()
  }
}

/** A prompt as the API takes it. */
export function promptOf (text, pictures) {
  if (pictures.length === 0) return text
  const images = pictures.map(({ data }) => ({ type: 'image', mediaType: typeOf(data), data }))
  return text.trim() === '' ? images : [{ type: 'text', text }, ...images]
}
