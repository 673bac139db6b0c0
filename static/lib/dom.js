import { words } from './words.js'

/**
 * Creates an element. Strings become text nodes, so no content can turn into markup.
 * `on…` functions are listeners; an attribute or child that is `false`, `null` or `undefined` is omitted.
 */
export function h (tag, attributes = {}, ...children) {
  const element = document.createElement(tag)
  for (const [name, value] of Object.entries(attributes)) {
    if (value === undefined || value === null || value === false) continue
    if (typeof value === 'function') element.addEventListener(name.slice(2), value)
    else element.setAttribute(name, value === true ? '' : String(value))
  }
  element.append(...children.flat(Infinity).filter((child) => child !== undefined && child !== null && child !== false))
  return element
}

/** Announces a change of state to screen readers. Streaming text is never announced. */
export function announce (text) {
  document.getElementById('status').textContent = text
}

/** Asks for confirmation in a native dialog, which restores the focus when it closes. @returns {Promise<boolean>} */
export function confirmDialog ({ title, text, action }) {
  return new Promise((resolve) => {
    const dialog = h('dialog', { class: 'dialog', 'aria-labelledby': 'dialog-title' },
      h('form', { method: 'dialog' },
        h('h2', { id: 'dialog-title' }, title),
        h('p', {}, text),
        h('div', { class: 'actions' },
          h('button', { class: 'button', value: 'no' }, words.common.cancel),
          h('button', { class: 'button danger', value: 'yes' }, action))))
    dialog.addEventListener('close', () => {
      dialog.remove()
      resolve(dialog.returnValue === 'yes')
    })
    document.body.append(dialog)
    dialog.showModal()
  })
}

/** Not on touch screens, where focus would open the keyboard over the page. */
export function focusInput (input) {
  if (window.matchMedia('(pointer: fine)').matches) input.focus()
}
