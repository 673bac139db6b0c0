import { h } from '../lib/dom.js'
import { formatCost, formatCount, formatDuration, promptTokens } from '../lib/format.js'

/** Labels for runs that ended without a result of Claude. */
const endings = {
  cancelled: 'Stopped',
  timeout: 'Stopped: the run took too long',
  signal: 'Claude was killed',
  exit: 'Claude ended without a result',
  sandbox_lost: 'The sandbox has ended',
  stream_lost: 'The connection to the sandbox was lost'
}

/** How a run ended, its duration and its cost, as far as known: of old runs only the conversation may be left. */
export function runFooter ({ outcome, isError, durationMs, costUsd, usage, exitCode }, { scripted, model }) {
  const ending = endings[outcome] ?? (isError ? 'Failed' : 'Done')
  const figures = [
    typeof costUsd === 'number' && formatCost(costUsd),
    usage && `${formatCount(promptTokens(usage))} tokens in, ${formatCount(usage.output_tokens ?? 0)} out`
  ].filter(Boolean).join(', ')
  return h('footer', { class: 'run-footer', 'data-failed': isError && outcome !== 'cancelled' },
    outcome && h('span', { class: 'ending' }, outcome === 'exit' && exitCode !== null ? `${ending} (exit code ${exitCode})` : ending),
    typeof durationMs === 'number' && h('span', {}, formatDuration(durationMs)),
    figures !== '' && h('span', {}, scripted ? `${figures} (made up)` : figures),
    (scripted || model) && h('span', {}, scripted ? 'Scripted demo model' : model))
}
