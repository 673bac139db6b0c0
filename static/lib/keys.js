import { h } from './dom.js'

const shortcuts = [
  ['Enter', 'Send; while Claude is working, queue'],
  ['Shift Enter', 'New line'],
  ['↑ ↓', 'Earlier prompts of this conversation, and back'],
  ['/', 'At the beginning of a prompt: commands of Claude Code'],
  ['@', 'In a prompt: files of the workspace'],
  ['Esc', 'Stop Claude, or close a panel'],
  ['Ctrl Shift Enter', 'Allow, approve or answer what Claude asks'],
  ['Ctrl Shift Backspace', 'Deny it'],
  ['1 2 3', 'Choose an option of Claude\'s question; Enter answers'],
  ['Shift Esc', 'Go to the prompt'],
  ['Ctrl Shift O', 'New conversation'],
  ['Ctrl Shift L', 'Search conversations'],
  ['Ctrl Shift F', 'Files'],
  ['Ctrl Shift G', 'Changes'],
  ['Ctrl `', 'Terminal'],
  ['Ctrl Shift C', 'Copy the latest answer'],
  ['Ctrl Shift ;', 'Copy the latest code'],
  ['?', 'Show this list']
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
    h('h2', { id: 'shortcuts-title' }, 'Keyboard'),
    h('dl', { class: 'shortcuts' }, shortcuts.map(([keys, meaning]) => h('div', {},
      h('dt', {}, keys.split(' ').map((key) => h('kbd', {}, key))), h('dd', {}, meaning)))),
    h('form', { method: 'dialog', class: 'actions' }, h('button', { class: 'button' }, 'Close')))
  dialog.addEventListener('close', () => dialog.remove())
  document.body.append(dialog)
  dialog.showModal()
}
