import { announce, h } from '../lib/dom.js'
import { icon } from '../lib/icons.js'
import { words } from '../lib/words.js'

/** A button that copies the text that `text()` returns. */
export function copyButton (text) {
  const label = h('span', {}, words.code.copy)
  const button = h('button', { type: 'button', class: 'copy' }, icon('copy'), label)
  let timer
  button.addEventListener('click', async () => {
    label.textContent = await copy(text()) ? words.code.copied : words.code.copyYourself
    clearTimeout(timer)
    timer = setTimeout(() => { label.textContent = words.code.copy }, 2000)
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

/** `navigator.clipboard` does not exist on plain HTTP. */
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

/** Copies the text of the last element that matches the selector. */
export async function copyLast (element, selector) {
  const text = [...element?.querySelectorAll(selector) ?? []].at(-1)?.innerText
  if (text) announce(await copy(text) ? words.code.copied : words.code.copyRefused)
}
