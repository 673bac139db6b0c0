import { h } from '../lib/dom.js'
import { formatCost, formatCount, formatDuration, formatList, promptTokens } from '../lib/format.js'
import { words } from '../lib/words.js'

/** How a run ended, its duration and its cost, as far as known: of old runs only the conversation may be left. */
export function runFooter ({ outcome, isError, durationMs, costUsd, usage, exitCode }, { scripted, model }) {
  const ending = words.turn.endings[outcome] ?? (isError ? words.turn.failed : words.common.done)
  const figures = [
    typeof costUsd === 'number' && formatCost(costUsd),
    usage && words.turn.tokens(formatCount(promptTokens(usage)), formatCount(usage.output_tokens ?? 0))
  ].filter(Boolean)
  return h('footer', { class: 'run-footer', 'data-failed': isError && outcome !== 'cancelled' },
    outcome && h('span', { class: 'ending' },
      outcome === 'exit' && exitCode !== null ? words.turn.exitCode(ending, exitCode) : ending),
    typeof durationMs === 'number' && h('span', {}, formatDuration(durationMs)),
    figures.length > 0 && h('span', {}, scripted ? words.turn.madeUp(formatList(figures)) : formatList(figures)),
    (scripted || model) && h('span', {}, scripted ? words.turn.scripted : model))
}
