import { h } from '../lib/dom.js'
import { plain } from '../lib/format.js'
import { notice } from '../views/notice.js'
import { ClaudeView } from './claude.js'
import { PermissionCard } from './permission.js'
import { runFooter } from './run-footer.js'

/** One prompt and everything that came of it. */
export class Turn {
  #body = h('div', { class: 'turn-body' })
  #failures = new Map()
  #permissions = new Map()
  #output
  #sandboxId
  #runId

  /** @param {{prompt?: string, scripted: boolean, sandboxId: string, workdir: string}} options */
  constructor ({ prompt, scripted, sandboxId, workdir }) {
    this.scripted = scripted
    this.#sandboxId = sandboxId
    this.claude = new ClaudeView({ workdir })
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
    this.recall(run)
  }

  /** How the run ended and what it took. */
  recall (run) {
    const footer = runFooter(run, { scripted: this.scripted, model: this.claude.model })
    if (footer.hasChildNodes()) this.#body.append(footer)
  }
}
