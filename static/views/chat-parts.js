import { h } from '../lib/dom.js'
import { formatDuration } from '../lib/format.js'
import { icon } from '../lib/icons.js'
import { failures } from '../panels/sync-report.js'
import { button } from './notice.js'
import { sameWorkspace } from './specs.js'

const examples = [
  'Write a small program that prints the first ten prime numbers, and run it.',
  'What is in this workspace? Describe it in a few sentences.',
  'Write a haiku about sandboxes into haiku.txt and show me the file.'
]

/** The content of an empty chat. */
export function welcome (onPrompt) {
  return h('div', { class: 'welcome' },
    h('h2', {}, 'What should Claude do?'),
    h('p', { class: 'muted' }, 'Claude works in this sandbox: it can write files, run commands and install software.'),
    h('ul', { class: 'examples' }, examples.map((prompt) =>
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
        ? `Files and conversations on the volume “${volume.name}” are kept for your next sandbox.`
        : 'This sandbox had no volume, so its files are gone.')),
    button(volume ? 'New sandbox with this workspace' : 'New sandbox',
      () => newSandbox(sameWorkspace(sandbox)), { kind: 'primary', symbol: 'plus' }))
}

function reportLine ({ step, ok, durationMs, error, report }) {
  return h('li', { 'data-state': ok ? 'done' : 'failed' },
    icon(ok ? 'check' : 'cross'),
    `${stepName(step)}${ok ? '' : ` failed${error ? `: ${error}` : ''}`}`,
    h('span', { class: 'muted' }, formatDuration(durationMs)),
    report?.failed.length > 0 && failures(report.failed))
}

const stepNames = {
  limits: 'Check your limits',
  app: 'Find your app',
  idempotency: 'Check for an earlier attempt',
  adopt: 'Continue the earlier attempt',
  image: 'Prepare the image',
  volume: 'Attach the volume',
  create: 'Start the sandbox',
  workdir: 'Prepare the workspace',
  runs: 'Stop Claude',
  stop: 'Stop other processes',
  initialize: 'Copy the workspace from S3',
  clone: 'Clone the repository',
  ready: 'Mark the sandbox as ready',
  sync: 'Copy the workspace to S3',
  terminate: 'Remove the sandbox'
}

/** The label of a step of the service; an unknown one is shown by its own name. */
export function stepName (step) {
  const name = stepNames[step] ?? step.replace(/[-_]+/g, ' ')
  return name.charAt(0).toUpperCase() + name.slice(1)
}
