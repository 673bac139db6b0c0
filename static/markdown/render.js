import { h } from '../lib/dom.js'
import { words } from '../lib/words.js'
import { Marked } from '../vendor/marked.js'
import { codeBlock } from './code.js'
import { findFootnotes, footnotes } from './footnotes.js'
import { math } from './math.js'
import { sanitize } from './sanitize.js'

const escapes = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', "'": '&#39;' }
const escape = (text) => text.replace(/[&<>"']/g, (character) => escapes[character])

/** Markdown as used in a chat: HTML in it is shown as text, and images are links, so that nothing is loaded. */
const marked = new Marked({
  gfm: true,
  breaks: true,
  renderer: {
    html: ({ text }) => escape(text),
    // The first two levels are those of the page.
    heading ({ tokens, depth }) {
      const tag = `h${Math.min(6, depth + 2)}`
      return `<${tag}>${this.parser.parseInline(tokens)}</${tag}>`
    },
    link ({ href, tokens }) {
      const text = this.parser.parseInline(tokens)
      return /^(https?:|mailto:)/i.test(href) ? `<a href="${escape(href)}">${text}</a>` : text
    },
    image: ({ href, text }) => /^https?:/i.test(href) ? `<a href="${escape(href)}">${escape(text || href)}</a>` : escape(text),
    checkbox: ({ checked }) => checked ? '☑ ' : '☐ '
  }
})

marked.use({ extensions: [...footnotes(escape), ...math(escape)] })

/** Splits a text into blocks. Each has its source as `raw`; joined, these are the whole text. */
export function blocksOf (text) {
  findFootnotes(text)
  try {
    return marked.lexer(text)
  } catch {
    // Nested more deeply than the parser's stack allows: show it as plain text.
    return [{ type: 'plain', raw: text }]
  }
}

/** Renders one block as elements. */
export function renderBlock (token) {
  if (token.type === 'plain') return [h('p', { dir: 'auto' }, token.raw)]
  if (token.type === 'code' && token.codeBlockStyle !== 'indented') return [codeBlock(token.text, languageOf(token.lang))]
  const fragment = sanitize(marked.parser([token]))
  for (const link of fragment.querySelectorAll('a')) {
    link.target = '_blank'
    link.rel = 'noopener noreferrer'
  }
  for (const code of fragment.querySelectorAll('pre > code')) {
    code.parentNode.replaceWith(codeBlock(code.textContent.replace(/\n$/, ''), languageOf(code.className.replace('language-', ''))))
  }
  // Each in the direction of its own language: what is in a list or a quotation in that of the whole.
  for (const element of [...fragment.children, ...fragment.querySelectorAll('th, td')]) element.dir = 'auto'
  for (const table of fragment.querySelectorAll('table')) {
    const box = h('div', { class: 'table', tabindex: '0', role: 'group', 'aria-label': words.code.table })
    table.replaceWith(box)
    box.append(table)
  }
  return [...fragment.childNodes].filter((node) => node.nodeType !== 3 || node.data.trim() !== '').map((node) =>
    node.nodeType === 3 ? h('p', { dir: 'auto' }, node) : node)
}

function languageOf (info = '') {
  return /^[\w+#.-]{1,30}/.exec(info)?.[0] ?? ''
}
