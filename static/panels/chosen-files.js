import { h } from '../lib/dom.js'
import { icon } from '../lib/icons.js'

/**
 * Files to upload, with their relative paths, and the paths of empty directories.
 * @typedef {{files: {path: string, file: File}[], empty: string[]}} ChosenFiles
 */

/** @param {File[]} files @returns {ChosenFiles} */
export function chosenFiles (files) {
  return { files: files.map((file) => ({ path: file.webkitRelativePath || file.name, file })), empty: [] }
}

/** A button to choose files, or a folder with its contents. */
export function fileChooser ({ label, symbol, folder = false, onFiles }) {
  const input = h('input', { type: 'file', multiple: true, webkitdirectory: folder, hidden: true, 'aria-label': label })
  input.addEventListener('change', () => {
    const chosen = chosenFiles([...input.files])
    input.value = ''
    onFiles(chosen)
  })
  const style = folder ? { class: 'quiet', 'aria-label': label, title: label } : { class: 'button small' }
  return h('button', { type: 'button', ...style, onclick: () => input.click() }, icon(symbol), folder ? '' : label, input)
}

/** The files of a drop, with those in dropped folders. @returns {Promise<ChosenFiles>} */
export async function droppedFiles ({ items, files }) {
  // The entries can only be read during the event.
  const entries = [...items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean)
  if (entries.length === 0) return chosenFiles([...files])
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
  // It returns at most a hundred entries at a time, and none at the end.
  for (let batch = await readBatch(reader); batch.length > 0; batch = await readBatch(reader)) {
    count += batch.length
    for (const child of batch) await collect(child, chosen)
  }
  if (count === 0) chosen.empty.push(path)
}

function readBatch (reader) {
  return new Promise((resolve, reject) => reader.readEntries(resolve, reject)).catch(() => [])
}
