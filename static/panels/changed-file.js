import { h } from '../lib/dom.js'
import { icon } from '../lib/icons.js'
import { words } from '../lib/words.js'
import { notice } from '../views/notice.js'

/**
 * A row for one changed file, which opens to show how.
 * @param {{path: string, kind: string, from?: string}} change
 * @param {{opened: Set<string>, key: string, load: () => Promise<Node[]>, action?: Node}} options the rows that are
 * open and stay it, this one's name among them, what it shows, and a button beside it
 */
export function changedFile ({ path, kind, from }, { opened, key, load, action }) {
  const content = h('div', { class: 'change-content' })
  const fill = async () => {
    content.replaceChildren(h('p', { class: 'loading small' }, h('span', { class: 'spinner' }), words.common.loading))
    content.replaceChildren(...await load().catch((error) => [notice(error, { dismissible: false })]))
  }
  const [, directory, name] = /^(.*\/)?([^]*?\/?)$/.exec(path)
  const row = h('details', { open: opened.has(key) },
    h('summary', { class: 'file', title: from ? `${from} → ${path}` : path },
      icon('chevron'),
      h('span', { class: 'change-kind', 'data-kind': kind, 'aria-hidden': 'true' }, words.changes.letters[kind]),
      h('span', { class: 'file-name' }, name, directory && h('span', { class: 'muted small' }, ` ${directory.slice(0, -1)}`)),
      h('span', { class: 'visually-hidden' }, words.changes.kind(words.changes.kinds[kind] ?? kind))),
    content)
  if (row.open) fill()
  row.addEventListener('toggle', () => {
    if (row.open === opened.has(key)) return
    if (row.open) opened.add(key)
    else opened.delete(key)
    if (row.open) fill()
  })
  return h('li', { class: 'change' }, row, action)
}
