import { h } from '../lib/dom.js'
import { icon } from '../lib/icons.js'

/**
 * What somebody chose to upload: files with the paths that they have below what was chosen, and the paths of
 * directories that hold nothing.
 * @typedef {{files: {path: string, file: File}[], empty: string[]}} Chosen
 */

/** A button that lets one choose files, or a folder with all that is in it. */
export function fileChooser ({ label, symbol, folder = false, onFiles }) {
  const input = h('input', { type: 'file', multiple: true, webkitdirectory: folder, hidden: true, 'aria-label': label })
  input.addEventListener('change', () => {
    const files = [...input.files].map((file) => ({ path: file.webkitRelativePath || file.name, file }))
    input.value = ''
    onFiles({ files, empty: [] })
  })
  const shown = folder ? { class: 'quiet', 'aria-label': label, title: label } : { class: 'button small' }
  return h('button', { type: 'button', ...shown, onclick: () => input.click() }, icon(symbol), folder ? '' : label, input)
}

/** Files and whole folders that were dropped. @returns {Promise<Chosen>} */
export async function droppedFiles ({ items, files }) {
  // The entries are there only until the event is over.
  const entries = [...items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean)
  if (entries.length === 0) return { files: [...files].map((file) => ({ path: file.name, file })), empty: [] }
  const chosen = { files: [], empty: [] }
  for (const entry of entries) await collect(entry, chosen)
  return chosen
}

async function collect (entry, chosen) {
  const path = entry.fullPath.replace(/^\//, '')
  if (entry.isFile) {
    const file = await new Promise((resolve, reject) => entry.file(resolve, reject))
      .catch((error) => ({ name: entry.name, size: 0, error }))
    chosen.files.push({ path, file })
    return
  }
  const reader = entry.createReader()
  let count = 0
  // It gives a hundred at a time, and none when it has given all.
  for (let batch = await read(reader); batch.length > 0; batch = await read(reader)) {
    count += batch.length
    for (const one of batch) await collect(one, chosen)
  }
  if (count === 0) chosen.empty.push(path)
}

function read (reader) {
  return new Promise((resolve, reject) => reader.readEntries(resolve, reject)).catch(() => [])
}
