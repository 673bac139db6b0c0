import { h } from '../lib/dom.js'
import { cost, count, duration, plain } from '../lib/format.js'
import { notice } from '../views/notice.js'
import { ClaudeView } from './claude.js'
import { PermissionCard } from './permission.js'

/** What to say when a run ended without a result of Claude's own. */
const endings = {
  cancelled: 'Stopped',
  timeout: 'Stopped: the run took too long',
  signal: 'Claude was killed',
  exit: 'Claude ended without a result',
  sandbox_lost: 'The sandbox has ended',
  stream_lost: 'The connection to the sandbox was lost'
}

/** One prompt and everything that came of it. */
export class Turn {
  #body = h('div', { class: 'turn-body' })
  #failures = new Map()
  #permissions = new Map()
  #output
  #sandboxId
  #runId

  /** @param {{prompt?: string, scripted: boolean, sandboxId: string}} options */
  constructor ({ prompt, scripted, sandboxId }) {
    this.scripted = scripted
    this.#sandboxId = sandboxId
    this.claude = new ClaudeView()
    this.#body.append(this.claude.element)
    this.element = h('article', { class: 'turn', 'aria-label': 'Prompt and answer' },
      prompt !== undefined && h('div', { class: 'prompt' }, h('span', { class: 'visually-hidden' }, 'You: '), prompt),
      this.#body)
  }

  /** Events it doesn't know are left out, as the contract asks of clients. */
  handle (event, data) {
    if (event === 'claude') {
      this.#output = undefined
      this.claude.handle(data)
    } else if (event === 'run.started') this.#runId = data.runId
    else if (event === 'output') this.#showOutput(data.text)
    else if (event === 'permission.requested') this.#ask(data)
    else if (event === 'permission.resolved') this.#resolve(data)
    else if (event === 'gap') this.#warn('Some of the output is no longer available and is missing here.')
    else if (event === 'error') this.fail(data)
    else if (event === 'run.completed') this.#complete(data)
  }

  /** Says it once: a stream that is taken up again may fail in the same way. */
  fail (error, actions) {
    const element = notice(error, { actions })
    this.#failures.get(error.message)?.remove()
    this.#failures.set(error.message, element)
    this.#body.append(element)
  }

  /** Following it ended, whatever the run does. */
  end () {
    this.claude.end()
    for (const card of this.#permissions.values()) card.close()
  }

  /** What Claude waits for: the card of the oldest request that has no answer. */
  get request () {
    return [...this.#permissions.values()].find(({ open }) => open)
  }

  #ask (request) {
    if (this.#permissions.has(request.id)) return
    const { workdir } = this.claude
    const card = new PermissionCard(request, { sandboxId: this.#sandboxId, runId: this.#runId, workdir })
    this.#permissions.set(request.id, card)
    this.claude.element.append(card.element)
    this.claude.onActivity('Waiting for you')
  }

  #resolve (answer) {
    this.#permissions.get(answer.id)?.resolve(answer)
    if (this.request === undefined) this.claude.onActivity('Thinking')
  }

  /** What is not JSON: it belongs between the events around it. */
  #showOutput (text) {
    if (plain(text).trim() === '') return
    if (this.#output === undefined) {
      this.#output = h('pre', { class: 'output', tabindex: '0', 'aria-label': 'Other output' })
      this.claude.element.append(this.#output)
    }
    this.#output.append(`${plain(text).replace(/\n$/, '')}\n`)
  }

  #warn (text) {
    this.claude.element.append(h('p', { class: 'note warn gap' }, text))
  }

  #complete (run) {
    for (const card of this.#permissions.values()) if (card.open) card.resolve({ decision: 'deny', by: 'run_end' })
    this.end()
    const { result } = this.claude
    const reason = result?.is_error ? result.result || result.errors?.join('\n') : undefined
    if (reason && run.outcome !== 'cancelled' && !this.claude.shows(reason)) {
      this.fail({ message: reason, hint: 'Correct what it says, then send your prompt again.' })
    }
    this.#body.append(this.#footer(run))
  }

  #footer ({ outcome, isError, durationMs, costUsd, usage, exitCode }) {
    const ending = endings[outcome] ?? (isError ? 'Failed' : 'Done')
    const figures = [
      typeof costUsd === 'number' && cost(costUsd),
      usage && `${count(tokensIn(usage))} tokens in, ${count(usage.output_tokens ?? 0)} out`
    ].filter(Boolean).join(', ')
    return h('footer', { class: 'run-footer', 'data-failed': isError && outcome !== 'cancelled' },
      h('span', { class: 'ending' }, outcome === 'exit' && exitCode !== null ? `${ending} (exit code ${exitCode})` : ending),
      typeof durationMs === 'number' && h('span', {}, duration(durationMs)),
      figures !== '' && h('span', {}, this.scripted ? `${figures} (made up)` : figures),
      h('span', {}, this.scripted ? 'Scripted demo model' : this.claude.model))
  }
}

/** Also what came from the cache or went into it. */
function tokensIn (usage) {
  const parts = ['input_tokens', 'cache_creation_input_tokens', 'cache_read_input_tokens']
  return parts.reduce((sum, part) => sum + (usage[part] ?? 0), 0)
}
