import { h } from '../lib/dom.js'
import { copyButton } from './copy.js'

/** Highlighting more than this would hold up the page. */
const longest = 30_000

/** A block of code with its language and a button that copies it (7.6). */
export function codeBlock (text, language = '', { numbered = false } = {}) {
  const code = h('code', {}, text)
  return h('figure', { class: 'code', 'data-language': language || false },
    h('figcaption', {}, h('span', {}, language || 'text'), copyButton(() => code.textContent)),
    h('pre', { tabindex: '0', class: numbered && 'numbered' }, code))
}

/** Changes the text of a code block that is still being written; what is there already stays untouched. */
export function extendCode (figure, text) {
  const code = figure.querySelector('code')
  const shown = code.textContent
  if (code.firstChild?.nodeType === 3 && text.startsWith(shown)) code.firstChild.appendData(text.slice(shown.length))
  else code.textContent = text
}

/** Colours the code in an element that is written for good. The library is loaded when there is something to do. */
export async function highlight (element) {
  const blocks = [...element.matches?.('.code') ? [element] : element.querySelectorAll?.('.code') ?? []]
    .filter(({ dataset }) => dataset.language && !dataset.coloured)
  if (blocks.length === 0) return
  const [{ default: library }, { clean }] = await Promise.all([import('../vendor/highlight.js'), import('./render.js')])
  for (const block of blocks) colour(block, library, clean)
}

function colour (block, library, clean) {
  const code = block.querySelector('code')
  const text = code.textContent
  const { language } = block.dataset
  if (block.dataset.coloured || text.length > longest || !library.getLanguage(language)) return
  block.dataset.coloured = 'yes'
  const coloured = clean(library.highlight(text, { language, ignoreIllegals: true }).value)
  // Never other than what was written, whatever a grammar makes of it.
  if (coloured.textContent === text) code.replaceChildren(coloured)
}
