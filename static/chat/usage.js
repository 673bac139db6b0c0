import { announce, h } from '../lib/dom.js'
import { formatCost, formatCount, formatMemory, formatPercent } from '../lib/format.js'
import { enableLightDismiss } from '../lib/light-dismiss.js'
import { words } from '../lib/words.js'

/** From which part of its context on a conversation should be compacted. */
const fullFrom = 0.8

/** How full the context of a conversation is and what it has cost, in a button that opens the details. */
export class UsageMeter {
  #label = h('summary', { class: 'quiet', title: words.usage.about })
  #details = h('div', { class: 'popover-body usage-details', role: 'group', 'aria-label': words.usage.name })
  #compute = h('dd')
  #scripted
  #sandbox
  #shown
  #isFull = false

  /** @param {boolean} scripted whether the model is made up, and so are its figures */
  constructor (sandbox, scripted) {
    this.#sandbox = sandbox
    this.#scripted = scripted
    this.element = h('details', { class: 'popover usage', hidden: true }, this.#label, this.#details)
    enableLightDismiss(this.element)
    this.element.addEventListener('toggle', () => this.#showCompute())
  }

  /** @param {import('./conversation.js').Conversation} conversation */
  show ({ sessionId, context, runs }) {
    const used = context && { ...context, window: windowOf(context.model, runs) }
    const costs = runs.map(({ completion }) => completion.costUsd).filter((cost) => typeof cost === 'number')
    const cost = costs.length > 0 ? costs.reduce((sum, one) => sum + one, 0) : undefined
    const state = JSON.stringify([sessionId, used, cost, runs.length])
    if (state === this.#shown) return
    this.#shown = state
    const isFull = used?.window !== undefined && used.tokens >= fullFrom * used.window
    const short = [used && shortly(used), cost !== undefined && formatCost(cost)].filter(Boolean).join(' · ')
    this.element.hidden = short === ''
    this.element.toggleAttribute('data-full', isFull)
    const hint = isFull ? ` · ${words.usage.compactHelps}` : ''
    this.#label.replaceChildren(h('span', {}, short, h('span', { class: 'wide-only' }, hint)))
    this.#label.setAttribute('aria-label', words.usage.label(short + hint))
    this.#details.replaceChildren(h('dl', {},
      row(words.usage.context, used ? inFull(used) : words.usage.contextUnknown),
      used && row(words.usage.model, used.model),
      row(words.usage.modelCost,
        cost === undefined ? words.usage.costUnknown : this.#costText(cost, costs.length, runs.length)),
      typeof this.#sandbox.resources?.usdPerHour === 'number' && [h('dt', {}, words.usage.sandbox), this.#compute]),
    ...isFull ? [h('p', { class: 'warn' }, words.usage.full)] : [])
    this.#showCompute()
    if (isFull && !this.#isFull) announce(words.usage.fullAnnounced)
    this.#isFull = isFull
  }

  /** What the sandbox has cost by now, whatever conversation was in it. */
  #showCompute () {
    const { createdAt, resources } = this.#sandbox
    if (typeof resources?.usdPerHour !== 'number') return
    const hours = Math.max(0, Date.now() - Date.parse(createdAt)) / 3_600_000
    const cost = formatCost(hours * resources.usdPerHour)
    this.#compute.textContent = words.usage.compute(cost, resources.cpu, formatMemory(resources.memoryMiB))
  }

  #costText (cost, known, all) {
    return words.usage.cost({ cost: formatCost(cost), runs: all, unknown: all - known, madeUp: this.#scripted })
  }
}

function row (name, value) {
  return [h('dt', {}, name), h('dd', {}, value)]
}

function shortly ({ tokens, window }) {
  return window === undefined ? words.usage.tokens(formatCount(tokens)) : formatPercent(tokens / window)
}

function inFull ({ tokens, window }) {
  return window === undefined
    ? words.usage.tokensOfUnknown(formatCount(tokens))
    : words.usage.tokensOf(formatCount(tokens), formatCount(window), formatPercent(tokens / window))
}

/** How many tokens the model takes, as the latest run that has used it says; undefined if none does. */
function windowOf (model, runs) {
  for (const { completion } of runs) {
    const windows = completion.contextWindows ?? {}
    if (Object.hasOwn(windows, model)) return windows[model]
    const name = Object.keys(windows).find((other) => plain(other) === plain(model))
    if (name !== undefined) return windows[name]
  }
}

/** Without what providers and the CLI add: `us.anthropic.claude-x-v1:0` and `claude-x[1m]` are `claude-x`. */
function plain (name) {
  return name.replace(/^.*\banthropic\./, '').replace(/\[\w+\]$/, '').replace(/-v\d+(:\d+)?$/, '')
}
