import { words } from '../lib/words.js'
import { FitAddon } from '../vendor/xterm-fit.js'
import { Terminal } from '../vendor/xterm.js'
import { ShellConnection } from './connection.js'
import { touchKeys } from './touch-keys.js'

/*
 * A document of its own, in a frame of the page: xterm.js needs inline styles, which the page's content security policy
 * forbids. `#sandbox=<id>&terminal=<id>` says what it shows; to the page it says what happens to the shell.
 */
const { sandbox, terminal: terminalId } = Object.fromEntries(new URLSearchParams(location.hash.slice(1)))
const page = window.parent
const tell = (message) => page.postMessage({ source: 'terminal', ...message }, location.origin)

const terminal = new Terminal({
  cursorBlink: true,
  fontFamily: window.getComputedStyle(document.documentElement).getPropertyValue('--mono'),
  fontSize: 13,
  // Programs choose colours for a dark background; the page may be light.
  minimumContrastRatio: 4.5,
  scrollback: 10_000
})
const screen = document.getElementById('terminal')
screen.setAttribute('aria-label', words.terminal.screen)
const fit = new FitAddon()
terminal.loadAddon(fit)
terminal.open(screen)
terminal.attachCustomKeyEventHandler((event) => {
  // Everything else, Tab too, is for the shell: without these the keyboard could not leave it.
  const leaves = (event.key === 'Escape' && event.shiftKey) || (event.code === 'Backquote' && event.ctrlKey)
  if (!leaves) return true
  if (event.type === 'keydown') tell({ type: 'leave' })
  return false
})

const say = (text) => terminal.write(`\r\n\x1b[2m${text}\x1b[0m\r\n`)
const connection = new ShellConnection(sandbox, terminalId, {
  size: () => ({ columns: terminal.cols, rows: terminal.rows }),
  onOpen: (id) => tell({ type: 'open', terminalId: id }),
  onOutput: (bytes) => terminal.write(bytes),
  onGap: () => { terminal.reset(); say(words.terminal.gap) },
  onLost: () => say(words.terminal.lost),
  onReplaced: () => say(words.terminal.replaced),
  onSignedOut: () => { say(words.terminal.signedOut); tell({ type: 'signed-out' }) },
  onEnded: (text) => { say(text); tell({ type: 'ended' }) },
  onFailed: ({ code, message, hint }) => {
    const isOver = code === 'SANDBOX_ENDED' || code === 'SANDBOX_NOT_FOUND'
    say(isOver ? message : words.terminal.failed(message, hint))
    if (isOver) tell({ type: 'sandbox-ended' })
  }
})
terminal.onData((text) => connection.send(text))
terminal.onResize((size) => connection.resize(size))
const keys = document.getElementById('keys')
keys.setAttribute('aria-label', words.terminal.keys)
keys.append(...touchKeys((text) => terminal.input(text)))

function adjust () {
  // A hidden frame has no size.
  if (document.body.clientWidth > 0) fit.fit()
}

function useColours () {
  const { theme } = page.document.documentElement.dataset
  if (theme === undefined) delete document.documentElement.dataset.theme
  else document.documentElement.dataset.theme = theme
  const { backgroundColor: background, color: foreground } = window.getComputedStyle(document.body)
  terminal.options.theme = { background, foreground, cursor: foreground, selectionBackground: 'rgb(128 160 150 / 45%)' }
}

useColours()
new window.MutationObserver(useColours).observe(page.document.documentElement, { attributeFilter: ['data-theme'] })
window.matchMedia('(prefers-color-scheme: dark)').addEventListener('change', useColours)
new window.ResizeObserver(adjust).observe(document.body)
window.addEventListener('message', ({ source, data }) => { if (source === page && data === 'end') connection.end() })
// The page gives the frame the focus, which may be before this has been loaded.
window.addEventListener('focus', () => terminal.focus())
if (document.hasFocus()) terminal.focus()
adjust()
connection.open()
