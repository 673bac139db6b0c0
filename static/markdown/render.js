import { h } from '../lib/dom.js'
import { Marked } from '../vendor/marked.js'
import purify from '../vendor/purify.js'
import { codeBlock } from './code.js'

const escapes = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', "'": '&#39;' }
const escape = (text) => text.replace(/[&<>"']/g, (character) => escapes[character])

/** Markdown as it is written in a chat: markup of its own is text, and nothing is loaded from anywhere. */
const marked = new Marked({
  gfm: true,
  breaks: true,
  renderer: {
    html: ({ text }) => escape(text),
    // The page has its own first levels.
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

/** The only elements and attributes that text of others can ever become. */
const allowed = {
  ALLOWED_TAGS: ['a', 'blockquote', 'br', 'code', 'del', 'em', 'h3', 'h4', 'h5', 'h6', 'hr', 'li', 'ol', 'p', 'pre', 'span',
    'strong', 'table', 'tbody', 'td', 'th', 'thead', 'tr', 'ul'],
  ALLOWED_ATTR: ['align', 'class', 'href', 'start'],
  ALLOW_DATA_ATTR: false,
  RETURN_DOM_FRAGMENT: true
}

/** The blocks of a text, each with its source as `raw`; together they are the text. */
export function blocksOf (text) {
  try {
    return marked.lexer(text)
  } catch {
    // Nested deeper than the parser can follow: nobody can read that as more than text.
    return [{ type: 'plain', raw: text }]
  }
}

/** One block as elements. */
export function renderBlock (token) {
  if (token.type === 'plain') return [h('p', {}, token.raw)]
  if (token.type === 'code' && token.codeBlockStyle !== 'indented') return [codeBlock(token.text, languageOf(token.lang))]
  const fragment = clean(marked.parser([token]))
  for (const link of fragment.querySelectorAll('a')) {
    link.target = '_blank'
    link.rel = 'noopener noreferrer'
  }
  for (const code of fragment.querySelectorAll('pre > code')) {
    code.parentNode.replaceWith(codeBlock(code.textContent.replace(/\n$/, ''), languageOf(code.className.replace('language-', ''))))
  }
  for (const table of fragment.querySelectorAll('table')) {
    const box = h('div', { class: 'table', tabindex: '0', role: 'group', 'aria-label': 'Table' })
    table.replaceWith(box)
    box.append(table)
  }
  return [...fragment.childNodes].filter((node) => node.nodeType !== 3 || node.data.trim() !== '').map((node) =>
    node.nodeType === 3 ? h('p', {}, node) : node)
}

/** HTML with everything taken out that is not known to be harmless, as nodes. */
export function clean (html) {
  return purify.sanitize(html, allowed)
}

export function languageOf (info = '') {
  return /^[\w+#.-]{1,30}/.exec(info)?.[0] ?? ''
}
