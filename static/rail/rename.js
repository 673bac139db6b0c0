import { h } from '../lib/dom.js'
import { words } from '../lib/words.js'

/** Asks for a name. @returns {Promise<string | undefined>} empty for none; undefined when it stays as it is */
export function renameDialog (title) {
  return new Promise((resolve) => {
    const input = h('input', { id: 'conversation-name', maxlength: '100', value: title, autocomplete: 'off', dir: 'auto' })
    const dialog = h('dialog', { class: 'dialog', 'aria-labelledby': 'dialog-title' },
      h('form', { method: 'dialog' },
        h('h2', { id: 'dialog-title' }, words.rail.renameTitle),
        h('div', { class: 'field' },
          h('label', { for: 'conversation-name', class: 'small muted' }, words.rail.nameAbout), input),
        h('div', { class: 'actions' },
          h('button', { type: 'button', class: 'button', onclick: () => dialog.close('no') }, words.common.cancel),
          h('button', { class: 'button primary', value: 'yes' }, words.rail.rename))))
    dialog.addEventListener('close', () => {
      dialog.remove()
      resolve(dialog.returnValue === 'yes' ? input.value.trim() : undefined)
    })
    document.body.append(dialog)
    dialog.showModal()
    input.select()
  })
}
