/**
 * Makes an element. Text is always a text node, so nothing that is shown can become markup.
 * `on…` functions are listeners; `false`, `null` and `undefined` leave an attribute or a child out.
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

/** Says a change of state to screen readers, once; streaming text is never announced. */
export function announce (text) {
  document.getElementById('status').textContent = text
}

/** A yes-or-no question in a native dialog; focus goes back by itself. */
export function ask ({ title, text, action }) {
  return new Promise((resolve) => {
    const dialog = h('dialog', { class: 'dialog', 'aria-labelledby': 'dialog-title' },
      h('form', { method: 'dialog' },
        h('h2', { id: 'dialog-title' }, title),
        h('p', {}, text),
        h('div', { class: 'actions' },
          h('button', { class: 'button', value: 'no' }, 'Cancel'),
          h('button', { class: 'button danger', value: 'yes' }, action))))
    dialog.addEventListener('close', () => {
      dialog.remove()
      resolve(dialog.returnValue === 'yes')
    })
    document.body.append(dialog)
    dialog.showModal()
  })
}

/** On a touch screen focus would open the keyboard over the page, so it stays where it is. */
export function focusInput (input) {
  if (window.matchMedia('(pointer: fine)').matches) input.focus()
}
