import { h } from '../lib/dom.js'
import { icon } from '../lib/icons.js'
import { words } from '../lib/words.js'
import { syncReport } from '../panels/sync-report.js'

/**
 * An error for people: what happened, what to do about it, and the request id for the log. It stays until it is
 * dismissed. `actions` are additional buttons. A sync that failed partly includes its report.
 */
export function notice (error, { actions = [], dismissible = true } = {}) {
  const { message, hint, requestId, step, details } = error
  const lang = (text) => languageOf(text, details ?? error)
  const element = h('div', { class: 'notice', role: 'alert' },
    icon('warning'),
    h('div', { class: 'notice-text' },
      h('p', { class: 'notice-message', lang: lang(message) }, message),
      hint && h('p', { lang: lang(hint) }, hint),
      (step || requestId) && h('p', { class: 'muted small' },
        [step && words.errors.step(step), requestId && words.errors.request(requestId)].filter(Boolean).join(' · ')),
      details?.report && syncReport(details.report, words.errors.whatWasDone),
      actions.length > 0 && h('div', { class: 'actions' }, actions)),
    dismissible && h('button', {
      type: 'button', class: 'quiet', 'aria-label': words.common.dismiss, onclick: () => element.remove()
    }, icon('cross')))
  return element
}

/** What the service says is in English, whatever the language of the page. */
function languageOf (text, { statusCode, message, hint, lang }) {
  return lang ?? (statusCode !== undefined && [message, hint].includes(text) && 'en')
}

export function button (text, onclick, { kind = '', symbol } = {}) {
  return h('button', { type: 'button', class: `button ${kind}`.trim(), onclick }, symbol && icon(symbol), text)
}

/** A button without words, whose label is read and shown on hovering. */
export function iconButton (symbol, label, onclick, more = '') {
  return h('button', { type: 'button', class: `quiet ${more}`.trim(), 'aria-label': label, title: label, onclick }, icon(symbol))
}
