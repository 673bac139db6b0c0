import { h } from './dom.js'
import { icon } from './icons.js'
import { remembered } from './remember.js'

const themes = {
  system: { symbol: 'contrast', label: 'Colours: as the system' },
  light: { symbol: 'sun', label: 'Colours: light' },
  dark: { symbol: 'moon', label: 'Colours: dark' }
}
const order = Object.keys(themes)
let theme = order.find((name) => name === remembered.read('theme')) ?? 'system'

function apply () {
  if (theme === 'system') delete document.documentElement.dataset.theme
  else document.documentElement.dataset.theme = theme
}

/** Goes from one colour theme to the next. */
export function themeButton () {
  const button = h('button', { type: 'button', class: 'quiet' })
  const show = () => {
    const { symbol, label } = themes[theme]
    button.replaceChildren(icon(symbol))
    button.title = label
    button.setAttribute('aria-label', label)
  }
  button.addEventListener('click', () => {
    theme = order[(order.indexOf(theme) + 1) % order.length]
    remembered.write('theme', theme === 'system' ? undefined : theme)
    apply()
    show()
  })
  show()
  return button
}

apply()
