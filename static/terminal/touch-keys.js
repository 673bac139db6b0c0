import { h } from '../lib/dom.js'
import { words } from '../lib/words.js'

const keys = {
  Esc: '\x1b', Tab: '\t', '^C': '\x03', '↑': '\x1b[A', '↓': '\x1b[B', '←': '\x1b[D', '→': '\x1b[C'
}

/** Keys that the keyboard of a phone lacks. @param {(text: string) => void} onKey */
export function touchKeys (onKey) {
  return Object.entries(keys).map(([label, text]) => h('button', {
    type: 'button',
    class: 'button small',
    'aria-label': words.terminal.keyNames[label],
    // The terminal keeps the focus, or the keyboard would go.
    onpointerdown: (event) => event.preventDefault(),
    onclick: () => onKey(text)
  }, label))
}
