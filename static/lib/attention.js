import { h } from './dom.js'
import { icon } from './icons.js'
import { remembered } from './remember.js'

/** Tells somebody who looks elsewhere what has happened: in the title, and with a notification if that is allowed. */
const plainTitle = document.title
let waiting = ''
let working = false

function show () {
  const sign = waiting !== '' ? `(!) ${waiting} · ` : working ? 'Working… · ' : ''
  document.title = sign + plainTitle
}

for (const [target, kind] of [[document, 'visibilitychange'], [window, 'focus']]) target.addEventListener(kind, seen)

function seen () {
  if (document.visibilityState !== 'visible') return
  waiting = ''
  show()
}

export function setWorking (value) {
  working = value
  show()
}

/** @param {string} text what has happened, in a few words */
export function callAttention (text, detail = '') {
  if (document.visibilityState === 'visible' && document.hasFocus()) return
  waiting = text
  show()
  if (wanted()) notify(text, detail.slice(0, 200))
}

function notify (text, body) {
  try {
    const notification = new window.Notification(text, { body, icon: 'favicon.svg', tag: 'modal-sandbox' })
    notification.onclick = () => {
      window.focus()
      notification.close()
    }
  } catch {
    // Browsers on phones have the constructor and refuse it.
  }
}

function wanted () {
  return window.Notification?.permission === 'granted' && remembered.read('notify', true)
}

/** Asks for notifications, or turns them off and on; not there where the browser has none or they were refused. */
export function notifyButton () {
  const button = h('button', { type: 'button', class: 'quiet' })
  const update = () => {
    button.hidden = !window.Notification || window.Notification.permission === 'denied'
    const label = wanted() ? 'Notifications are on' : 'Notify me when Claude is done or needs me'
    button.title = label
    button.setAttribute('aria-label', label)
    button.setAttribute('aria-pressed', String(wanted()))
    button.replaceChildren(icon(wanted() ? 'bell' : 'bellOff'))
  }
  button.addEventListener('click', async () => {
    if (window.Notification.permission === 'granted') remembered.write('notify', !remembered.read('notify', true))
    else if (await window.Notification.requestPermission() === 'granted') remembered.write('notify', true)
    update()
  })
  update()
  return button
}
