import { h } from './dom.js'
import { icon } from './icons.js'
import { browserStorage } from './storage.js'
import { words } from './words.js'

// Shows the state in the page's title, for users who look elsewhere, and in notifications if they are allowed.

const plainTitle = document.title
/** What the user has not seen yet. */
let unseen = ''
/** What Claude is doing in what is shown, */
let working = ''
/** and what that is. */
let place = ''

function updateTitle () {
  const parts = [unseen !== '' ? `(!) ${unseen}` : working, place, plainTitle]
  document.title = parts.filter((part) => part !== '').join(' · ')
}

for (const [target, kind] of [[document, 'visibilitychange'], [window, 'focus']]) target.addEventListener(kind, markSeen)

function markSeen () {
  if (document.visibilityState !== 'visible') return
  unseen = ''
  updateTitle()
}

/**
 * @param {string} name of what the page shows; empty for the start page
 * @param {string} doing what Claude is doing there; empty when it does nothing
 */
export function setPlace (name, doing = '') {
  place = name.slice(0, 80)
  working = doing
  updateTitle()
}

/** Tells the user, unless the page is in front. @param {string} text what happened, in a few words */
export function callAttention (text, detail = '') {
  if (document.visibilityState === 'visible' && document.hasFocus()) return
  unseen = text
  updateTitle()
  if (isEnabled()) notify(text, detail.slice(0, 200))
}

function notify (text, body) {
  try {
    const notification = new window.Notification(text, { body, icon: 'favicon.svg', tag: 'modal-sandbox' })
    notification.onclick = () => {
      window.focus()
      notification.close()
    }
  } catch {
    // Mobile browsers have the constructor, but it throws.
  }
}

function isEnabled () {
  return window.Notification?.permission === 'granted' && browserStorage.read('notify', true)
}

/** Requests notifications, or toggles them. Hidden where the browser lacks them or the user has denied them. */
export function notifyButton () {
  const button = h('button', { type: 'button', class: 'quiet' })
  const update = () => {
    button.hidden = !window.Notification || window.Notification.permission === 'denied'
    const label = isEnabled() ? words.page.notificationsOn : words.page.notificationsOff
    button.title = label
    button.setAttribute('aria-label', label)
    button.setAttribute('aria-pressed', String(isEnabled()))
    button.replaceChildren(icon(isEnabled() ? 'bell' : 'bellOff'))
  }
  button.addEventListener('click', async () => {
    if (window.Notification.permission === 'granted') browserStorage.write('notify', !browserStorage.read('notify', true))
    else if (await window.Notification.requestPermission() === 'granted') browserStorage.write('notify', true)
    update()
  })
  update()
  return button
}
