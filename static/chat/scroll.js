import { h } from '../lib/dom.js'
import { icon } from '../lib/icons.js'
import { words } from '../lib/words.js'

/** Distance from the end that still counts as the end. */
const tolerancePx = 32

/** A scrolling column that follows its end while the user is there; otherwise it offers a button to jump back. */
export function followingColumn (content) {
  const jump = h('button', { type: 'button', class: 'jump', hidden: true }, icon('arrowDown'), words.chat.jump)
  const scroller = h('div', { class: 'scroller', tabindex: '-1' }, content)
  let following = true
  let lastTop = 0

  const toEnd = () => {
    scroller.scrollTop = scroller.scrollHeight
    // When content has shrunk the end is higher up: that is not the user's doing.
    lastTop = scroller.scrollTop
  }
  const distance = () => scroller.scrollHeight - scroller.scrollTop - scroller.clientHeight
  // Content may grow between scrolling to the end and the event of that; only a decreasing position is the user's.
  const update = () => {
    const scrolledUp = scroller.scrollTop < lastTop
    lastTop = scroller.scrollTop
    if (scrolledUp && distance() > 1) following = false
    else if (!scrolledUp && distance() < tolerancePx) following = true
    jump.hidden = following || distance() < tolerancePx
  }
  const follow = () => {
    following = true
    jump.hidden = true
    toEnd()
  }

  scroller.addEventListener('scroll', update, { passive: true })
  // After opening a card the user reads it: the content must not move.
  content.addEventListener('click', ({ target }) => { if (target.closest('summary, .series-toggle')) following = false })
  jump.addEventListener('click', follow)
  const observer = new window.ResizeObserver(() => following ? toEnd() : update())
  observer.observe(content)
  observer.observe(scroller)

  return { element: h('div', { class: 'column' }, scroller, jump), follow, close: () => observer.disconnect() }
}
