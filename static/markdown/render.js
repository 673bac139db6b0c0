import { h } from '../lib/dom.js'
import { codeBlock } from './code.js'
import { inline } from './inline.js'

/** A parsed block as an element. */
export function renderBlock (block) {
  switch (block.type) {
    case 'code': return codeBlock(block.text, block.language)
    // The page has its own first levels.
    case 'heading': return h(`h${Math.min(6, block.level + 2)}`, {}, inline(block.text))
    case 'rule': return h('hr')
    case 'quote': return h('blockquote', {}, block.blocks.map(renderBlock))
    case 'list': return renderList(block)
    case 'table': return renderTable(block)
    default: return h('p', {}, inline(block.text))
  }
}

function renderList ({ ordered, first, items }) {
  return h(ordered ? 'ol' : 'ul', { start: ordered && first !== 1 && first }, items.map((blocks) =>
    h('li', {}, blocks.map((block, index) =>
      index === 0 && block.type === 'paragraph' ? inline(block.text) : renderBlock(block)))))
}

function renderTable ({ head, rows }) {
  const row = (tag, cells) => h('tr', {}, cells.map((cell) => h(tag, {}, inline(cell))))
  return h('div', { class: 'table', tabindex: '0', role: 'group', 'aria-label': 'Table' },
    h('table', {},
      h('thead', {}, row('th', head)),
      h('tbody', {}, rows.map((cells) => row('td', cells)))))
}
