import { h } from './dom.js'
import { words } from './words.js'

const { keys } = words
const shortcuts = [
  ['Enter', keys.send],
  ['Shift Enter', keys.newLine],
  ['↑ ↓', keys.history],
  ['/', keys.commands],
  ['@', keys.files],
  ['Esc', keys.stop],
  ['Ctrl Shift Enter', keys.allow],
  ['Ctrl Shift Backspace', keys.deny],
  ['1 2 3', keys.choose],
  ['Shift Esc', keys.toPrompt],
  ['Ctrl Shift O', keys.newConversation],
  ['Ctrl Shift L', keys.search],
  ['Ctrl Shift F', keys.filesPanel],
  ['Ctrl Shift G', keys.changesPanel],
  ['Ctrl `', keys.terminal],
  ['Ctrl Shift C', keys.copyAnswer],
  ['Ctrl Shift ;', keys.copyCode],
  ['?', keys.showThis]
]

/** `Ctrl` is the command key on a Mac. @returns the name of the pressed shortcut, as in the list above */
export function shortcutOf (event) {
  if (event.isComposing) return
  const typing = event.target.closest?.('input, textarea, select')
  if (event.key === 'Escape') return event.shiftKey ? 'Shift Esc' : 'Esc'
  if (event.key === '?' && !typing) return '?'
  if (event.ctrlKey && event.code === 'Backquote') return 'Ctrl `'
  if (!(event.ctrlKey || event.metaKey) || !event.shiftKey) return
  const letter = event.code === 'Semicolon' ? ';' : event.key.length > 1 ? event.key : event.key.toUpperCase()
  return ['O', 'L', 'F', 'G', 'C', ';', 'Enter', 'Backspace'].includes(letter) ? `Ctrl Shift ${letter}` : undefined
}

/** @param {Record<string, () => void>} actions by shortcut @returns a listener, inactive while a dialog is open */
export function onShortcut (actions) {
  return (event) => {
    const action = actions[shortcutOf(event)]
    if (!action || document.querySelector('dialog[open]')) return
    event.preventDefault()
    action()
  }
}

export function showShortcuts () {
  if (document.querySelector('dialog[open]')) return
  const dialog = h('dialog', { class: 'dialog', 'aria-labelledby': 'shortcuts-title' },
    h('h2', { id: 'shortcuts-title' }, keys.title),
    h('dl', { class: 'shortcuts' }, shortcuts.map(([pressed, meaning]) => h('div', {},
      h('dt', {}, pressed.split(' ').map((key) => h('kbd', {}, keys.names[key] ?? key))), h('dd', {}, meaning)))),
    h('form', { method: 'dialog', class: 'actions' }, h('button', { class: 'button' }, words.common.close)))
  dialog.addEventListener('close', () => dialog.remove())
  document.body.append(dialog)
  dialog.showModal()
}
