import { h } from '../lib/dom.js'
import { droppedFiles } from '../panels/chosen-files.js'
import { Upload } from '../panels/upload.js'

/**
 * Uploads files that are dropped onto an element to the workspace.
 * @param {{sandbox, accepts: () => boolean, onUploaded: (names: string[]) => void}} options `onUploaded` is called with
 * the dropped files and folders of which something has arrived
 * @returns an element for the progress of the uploads
 */
export function acceptDrops (target, { sandbox, accepts, onUploaded }) {
  const uploads = h('div', { class: 'uploads' })
  const isOver = (event, over) => {
    if (!accepts() || !event.dataTransfer.types.includes('Files')) return false
    event.preventDefault()
    target.toggleAttribute('data-drag', over)
    return true
  }
  target.addEventListener('dragover', (event) => isOver(event, true))
  target.addEventListener('dragleave', (event) => isOver(event, target.contains(event.relatedTarget)))
  target.addEventListener('drop', async (event) => {
    if (!isOver(event, false)) return
    const upload = new Upload(sandbox.id, sandbox.workdir, await droppedFiles(event.dataTransfer))
    uploads.append(upload.element)
    const paths = await upload.start()
    const names = new Set(paths.map((path) => path.split('/')[0]))
    if (names.size > 0) onUploaded([...names])
  })
  return uploads
}
