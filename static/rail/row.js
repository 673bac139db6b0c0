import { h } from '../lib/dom.js'
import { approximateDuration } from '../lib/format.js'
import { icon } from '../lib/icons.js'
import { chatHash } from '../lib/routes.js'
import { words } from '../lib/words.js'
import { workspaceOf } from './known.js'

const marks = { working: words.rail.working, waiting: words.common.waitingForYou }

/**
 * One conversation of the list.
 * @param {import('./known.js').Conversation} conversation
 * @param {{current: boolean, onMenu: (button: HTMLElement) => void}} options
 */
export function row (conversation, { current, onMenu }) {
  const { sandbox, sessionId, title, state, updatedAt, seenAt, live } = conversation
  const name = title || words.common.untitled
  const isUnread = !current && state === '' && updatedAt > seenAt
  const mark = marks[state] ?? (isUnread ? words.rail.new : undefined)
  const age = words.common.ago(approximateDuration(Date.now() - Date.parse(updatedAt)))
  const key = `${sandbox.id} ${sessionId}`
  const more = h('button', {
    type: 'button',
    class: 'quiet rail-more',
    'aria-label': words.rail.actions(name),
    'data-key': `menu ${key}`,
    onclick: () => onMenu(more)
  }, icon('more'))
  return h('li', { class: 'rail-row', 'data-state': state || (isUnread ? 'unread' : undefined) },
    h('a', {
      class: 'rail-link', href: chatHash(sandbox.id, sessionId), 'aria-current': current && 'page', 'data-key': key, title: name
    },
    h('span', { class: 'rail-title', dir: 'auto' }, name),
    h('span', { class: 'rail-meta' },
      mark && h('span', { class: 'rail-mark' }, mark),
      h('span', {}, [placeOf(conversation), age].join(' · ')),
      !live && !canContinue(sandbox) && h('span', {}, words.rail.cannotContinue))),
    more)
}

/** What a person calls the place of a conversation. */
export function placeOf ({ sandbox: { name, volume } }) {
  return volume ? volume.name : name ?? words.rail.noVolume
}

/** Whether something of an ended sandbox is left with which another one can go on. */
export function canContinue (sandbox) {
  return workspaceOf(sandbox) !== sandbox.id || Boolean(sandbox.s3)
}
