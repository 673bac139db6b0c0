import { h } from '../lib/dom.js'
import { icon } from '../lib/icons.js'

/** A block of code with its language and a button that copies it (7.6). */
export function codeBlock (text, language = '') {
  const code = h('code', {}, text)
  return h('figure', { class: 'code' },
    h('figcaption', {}, h('span', {}, language || 'text'), copyButton(() => code.textContent)),
    h('pre', { tabindex: '0' }, code))
}

/** Changes the text of a code block that is still being written; what is there already stays untouched. */
export function extendCode (figure, text) {
  const code = figure.querySelector('code')
  const shown = code.textContent
  if (code.firstChild && text.startsWith(shown)) code.firstChild.appendData(text.slice(shown.length))
  else code.textContent = text
}

function copyButton (text) {
  const label = h('span', {}, 'Copy')
  const button = h('button', { type: 'button', class: 'copy' }, icon('copy'), label)
  let timer
  button.addEventListener('click', async () => {
    const copied = await copy(text())
    label.textContent = copied ? 'Copied' : 'Press Ctrl+C'
    clearTimeout(timer)
    timer = setTimeout(() => { label.textContent = 'Copy' }, 2000)
  })
  return button
}

async function copy (text) {
  try {
    await navigator.clipboard.writeText(text)
    return true
  } catch {
    return copyBySelection(text)
  }
}

/** The clipboard's own interface is missing on plain HTTP. */
function copyBySelection (text) {
  const before = document.activeElement
  const area = h('textarea', { class: 'visually-hidden', 'aria-hidden': 'true', tabindex: '-1' }, text)
  document.body.append(area)
  area.select()
  const copied = document.execCommand('copy')
  area.remove()
  before?.focus()
  return copied
}
