import { h } from '../lib/dom.js'
import { formatDuration } from '../lib/format.js'
import { icon } from '../lib/icons.js'
import { words } from '../lib/words.js'
import { failures } from '../panels/sync-report.js'
import { button } from './notice.js'
import { sameWorkspace } from './specs.js'

/** The content of an empty chat. */
export function welcome (onPrompt) {
  return h('div', { class: 'welcome' },
    h('h2', {}, words.chat.welcome),
    h('p', { class: 'muted' }, words.chat.about),
    h('ul', { class: 'examples' }, words.chat.examples.map((prompt) =>
      h('li', {}, h('button', { type: 'button', class: 'example', onclick: () => onPrompt(prompt) }, prompt)))))
}

/** Shown after the end of a session: what was done, what is kept, and how to continue (7.8). */
export function endedNotice ({ text, report, sandbox, newSandbox }) {
  const steps = report?.steps ?? []
  const { volume } = sandbox
  return h('div', { class: 'ended', role: 'status' },
    h('div', { class: 'ended-text' },
      h('h2', { tabindex: '-1' }, text),
      steps.length > 0 && h('ul', { class: 'report' }, steps.map(reportLine)),
      h('p', { class: 'muted' }, volume
        ? words.chat.keptOnVolume(volume.name)
        : words.chat.nothingKept)),
    button(volume ? words.common.newSandboxSameWorkspace : words.common.newSandbox,
      () => newSandbox(sameWorkspace(sandbox)), { kind: 'primary', symbol: 'plus' }))
}

function reportLine ({ step, ok, durationMs, error, report }) {
  const name = stepName(step)
  const { stepFailed, stepFailedWith } = words.chat
  return h('li', { 'data-state': ok ? 'done' : 'failed' },
    icon(ok ? 'check' : 'cross'),
    ok ? name : error ? stepFailedWith(name, error) : stepFailed(name),
    h('span', { class: 'muted' }, formatDuration(durationMs)),
    report?.failed.length > 0 && failures(report.failed))
}

/** The label of a step of the service; an unknown one is shown by its own name. */
export function stepName (step) {
  const name = words.steps[step] ?? step.replace(/[-_]+/g, ' ')
  return name.charAt(0).toUpperCase() + name.slice(1)
}
