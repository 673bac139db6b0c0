import { diffView } from '../chat/diff.js'
import { h } from '../lib/dom.js'
import { words } from '../lib/words.js'
import { changedFile } from './changed-file.js'
import { patchView } from './patch.js'

/**
 * What Claude's tools have changed, file by file. It is what the tools have said: what a command has changed is not in
 * it, nor what has become of a file since.
 * @param {{tool: string, path: string, changes: string[][], patch?: object[]}[]} edits in their order
 * @param {{about: string, opened: Set<string>}} options what is said of the list
 */
export function editsView (edits, { about, opened }) {
  const files = byPath(edits)
  const note = h('p', { class: 'muted small' }, about)
  if (files.size === 0) return [note, h('p', { class: 'empty' }, words.changes.noneEdited)]
  return [note, h('ul', { class: 'change-list' }, [...files].map(([path, ofFile]) => changedFile({ path, kind: kindOf(ofFile) }, {
    opened, key: path, load: async () => ofFile.flatMap(editView)
  })))]
}

function byPath (edits) {
  const files = new Map()
  for (const edit of edits) files.set(edit.path, [...files.get(edit.path) ?? [], edit])
  return files
}

/** The CLI names no patch for a new file, and a stored conversation has none at all. */
function editView ({ tool, changes, patch }) {
  if (Array.isArray(patch) && patch.length > 0) return [patchView(patch)]
  if (changes.length === 0) return [h('p', { class: 'muted small' }, words.changes.notebookCell)]
  const whole = tool === 'Write' && h('p', { class: 'muted small' }, words.changes.writtenWhole)
  return [whole, ...changes.map(([before, after]) => diffView(before, after, { firstLine: before === '' ? 1 : undefined }))].filter(Boolean)
}

function kindOf (edits) {
  return edits[0].tool === 'Write' ? 'written' : 'modified'
}
