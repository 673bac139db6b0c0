import { h } from '../lib/dom.js'
import { words } from '../lib/words.js'
import { copyButton } from './copy.js'

/** Highlighting more characters than this would block the page. */
const maxHighlightLength = 30_000

/** A code block with its language and a copy button (7.6). */
export function codeBlock (text, language = '', { numbered = false } = {}) {
  const code = h('code', {}, text)
  return h('figure', { class: 'code', 'data-language': language || false },
    h('figcaption', {}, h('span', {}, words.code.labels[language] ?? language), copyButton(() => code.textContent)),
    h('pre', { tabindex: '0', class: numbered && 'numbered' }, code))
}

/** Sets the text of a code block that is still being written; text that is shown already is left untouched. */
export function extendCode (figure, text) {
  const code = figure.querySelector('code')
  const shown = code.textContent
  if (code.firstChild?.nodeType === 3 && text.startsWith(shown)) code.firstChild.appendData(text.slice(shown.length))
  else code.textContent = text
}

/** Highlights the code blocks in an element that is complete. The library is loaded on first use. */
export async function highlight (element) {
  const blocks = [...element.matches?.('.code') ? [element] : element.querySelectorAll?.('.code') ?? []]
    .filter(({ dataset }) => dataset.language && !dataset.highlighted)
  if (blocks.length === 0) return
  const [{ default: library }, { sanitize }] = await Promise.all([
    import('../vendor/highlight.js'), import('./sanitize.js')
  ])
  for (const block of blocks) highlightBlock(block, library, sanitize)
}

function highlightBlock (block, library, sanitize) {
  const code = block.querySelector('code')
  const text = code.textContent
  const { language } = block.dataset
  if (block.dataset.highlighted || text.length > maxHighlightLength || !library.getLanguage(language)) return
  block.dataset.highlighted = 'yes'
  const highlighted = sanitize(library.highlight(text, { language, ignoreIllegals: true }).value)
  // Highlighting must not change the text.
  if (highlighted.textContent === text) code.replaceChildren(highlighted)
}
