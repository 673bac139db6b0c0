import { h } from '../lib/dom.js'
import { icon } from '../lib/icons.js'

/** Pixels from the end that still count as being there. */
const tolerance = 32

/** A scrolling column that follows its end only while the reader is there; otherwise offers a way back. */
export function followingColumn (content) {
  const jump = h('button', { type: 'button', class: 'jump', hidden: true }, icon('arrowDown'), 'Jump to latest')
  const scroller = h('div', { class: 'scroller', tabindex: '-1' }, content)
  let following = true
  let lastTop = 0

  const toEnd = () => { scroller.scrollTop = scroller.scrollHeight }
  const distance = () => scroller.scrollHeight - scroller.scrollTop - scroller.clientHeight
  // Text that grew between our scrolling and its event must not look like somebody scrolling up: only going up is.
  const update = () => {
    const wentUp = scroller.scrollTop < lastTop
    lastTop = scroller.scrollTop
    if (wentUp && distance() > 1) following = false
    else if (!wentUp && distance() < tolerance) following = true
    jump.hidden = following || distance() < tolerance
  }
  const follow = () => {
    following = true
    jump.hidden = true
    toEnd()
  }

  scroller.addEventListener('scroll', update, { passive: true })
  // A click that opens a card is reading: the page must not move under it.
  content.addEventListener('click', ({ target }) => { if (target.closest('summary')) following = false })
  jump.addEventListener('click', follow)
  const observer = new window.ResizeObserver(() => following ? toEnd() : update())
  observer.observe(content)
  observer.observe(scroller)

  return { element: h('div', { class: 'column' }, scroller, jump), follow, close: () => observer.disconnect() }
}
