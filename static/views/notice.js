import { h } from '../lib/dom.js'
import { icon } from '../lib/icons.js'
import { syncReport } from '../panels/sync-report.js'

/**
 * An error for people: what happened, what to do about it, and the request id for the log. It stays until it is
 * dismissed. `actions` are additional buttons. A sync that failed partly includes its report.
 */
export function notice ({ message, hint, requestId, step, details }, { actions = [], dismissible = true } = {}) {
  const element = h('div', { class: 'notice', role: 'alert' },
    icon('warning'),
    h('div', { class: 'notice-text' },
      h('p', { class: 'notice-message' }, message),
      hint && h('p', {}, hint),
      (step || requestId) && h('p', { class: 'muted small' },
        [step && `Step: ${step}`, requestId && `Request: ${requestId}`].filter(Boolean).join(' · ')),
      details?.report && syncReport(details.report, 'What was done'),
      actions.length > 0 && h('div', { class: 'actions' }, actions)),
    dismissible && h('button', { type: 'button', class: 'quiet', 'aria-label': 'Dismiss', onclick: () => element.remove() },
      icon('cross')))
  return element
}

export function button (text, onclick, { kind = '', symbol } = {}) {
  return h('button', { type: 'button', class: `button ${kind}`.trim(), onclick }, symbol && icon(symbol), text)
}
