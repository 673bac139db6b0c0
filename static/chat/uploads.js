import { h } from '../lib/dom.js'
import { chosenFiles, droppedFiles } from '../panels/chosen-files.js'
import { Upload } from '../panels/upload.js'

/** Uploads to the workspace of what is dropped into a chat, or attached there and no picture. */
export class ChatUploads {
  element = h('div', { class: 'uploads' })
  #sandbox
  #onUploaded

  /** @param {(names: string[]) => void} onUploaded called with the files and folders of which something has arrived */
  constructor (sandbox, onUploaded) {
    this.#sandbox = sandbox
    this.#onUploaded = onUploaded
  }

  /** @param {() => boolean} accepts whether files can be dropped now */
  acceptDrops (target, accepts) {
    const isOver = (event, over) => {
      if (!accepts() || !event.dataTransfer.types.includes('Files')) return false
      event.preventDefault()
      target.toggleAttribute('data-drag', over)
      return true
    }
    target.addEventListener('dragover', (event) => isOver(event, true))
    target.addEventListener('dragleave', (event) => isOver(event, target.contains(event.relatedTarget)))
    target.addEventListener('drop', async (event) => {
      if (isOver(event, false)) await this.#add(await droppedFiles(event.dataTransfer))
    })
  }

  /** @param {File[]} files */
  async addFiles (files) {
    await this.#add(chosenFiles(files))
  }

  async #add (chosen) {
    const upload = new Upload(this.#sandbox.id, this.#sandbox.workdir, chosen)
    this.element.append(upload.element)
    const paths = await upload.start()
    const names = new Set(paths.map((path) => path.split('/')[0]))
    if (names.size > 0) this.#onUploaded([...names])
  }
}
