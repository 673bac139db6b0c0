import { h } from './dom.js'
import { icon } from './icons.js'
import { browserStorage } from './storage.js'
import { words } from './words.js'

/** With the symbols that stand for them. */
const themes = { system: 'contrast', light: 'sun', dark: 'moon' }
const order = Object.keys(themes)
let theme = order.find((name) => name === browserStorage.read('theme')) ?? 'system'

function apply () {
  if (theme === 'system') delete document.documentElement.dataset.theme
  else document.documentElement.dataset.theme = theme
}

/** A button that switches to the next colour theme. */
export function themeButton () {
  const button = h('button', { type: 'button', class: 'quiet' })
  const show = () => {
    const label = words.page.theme[theme]
    button.replaceChildren(icon(themes[theme]))
    button.title = label
    button.setAttribute('aria-label', label)
  }
  button.addEventListener('click', () => {
    theme = order[(order.indexOf(theme) + 1) % order.length]
    browserStorage.write('theme', theme === 'system' ? undefined : theme)
    apply()
    show()
  })
  show()
  return button
}

apply()
