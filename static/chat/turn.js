import { h } from '../lib/dom.js'
import { stripAnsi } from '../lib/format.js'
import { picture } from '../lib/pictures.js'
import { words } from '../lib/words.js'
import { button, iconButton, notice } from '../views/notice.js'
import { ClaudeView } from './claude.js'
import { PermissionCard } from './permission.js'
import { PlanCard } from './plan.js'
import { QuestionCard } from './question.js'
import { runFooter } from './run-footer.js'

const cards = { tool: PermissionCard, question: QuestionCard, plan: PlanCard }

/** One prompt and the run that answers it. */
export class Turn {
  #body = h('div', { class: 'turn-body' })
  #errors = new Map()
  #permissions = new Map()
  #output
  #sandboxId
  #runId
  #onAnswered
  #onEdit

  /**
   * @param {{prompt?: string, pictures?: object[], scripted, sandboxId, workdir, todos, onAnswered?: () => void,
   *   onEdit?: () => void, onFork?: () => void}} options
   */
  constructor ({ prompt, pictures = [], scripted, sandboxId, workdir, todos, onAnswered, onEdit, onFork }) {
    this.#onEdit = onEdit
    this.scripted = scripted
    this.#sandboxId = sandboxId
    this.#onAnswered = onAnswered
    this.claude = new ClaudeView({ workdir, todos })
    this.#body.append(h('h2', { class: 'visually-hidden' }, words.turn.answer), this.claude.element)
    this.element = h('article', { class: 'turn', 'aria-label': words.turn.name },
      prompt !== undefined && promptElement(prompt, pictures),
      onFork && iconButton('pencil', words.turn.editPrompt, onFork, 'edit-prompt'),
      this.#body)
  }

  /** Unknown events are ignored, as the API asks of its clients. */
  handle (event, data) {
    if (event === 'claude') {
      this.#output = undefined
      this.claude.handle(data)
      this.#showAnswers(data)
    } else if (event === 'run.started') this.#runId = data.runId
    else if (event === 'output') this.#showOutput(data.text)
    else if (event === 'permission.requested') this.#showPermission(data)
    else if (event === 'permission.resolved') this.#resolvePermission(data)
    else if (event === 'gap') this.#warn(words.turn.gap)
    else if (event === 'error') this.fail(data)
    else if (event === 'run.completed') this.#complete(data)
  }

  /** Shows an error, once: a resumed stream may fail with the same error again. */
  fail (error, actions) {
    const element = notice(error, { actions })
    this.#errors.get(error.message)?.remove()
    this.#errors.set(error.message, element)
    this.#body.append(element)
  }

  /** The page no longer follows the run. */
  end () {
    this.claude.end()
    for (const card of this.#permissions.values()) card.close()
  }

  /** The oldest request without an answer, as its card. */
  get openRequest () {
    return [...this.#permissions.values()].find(({ open }) => open)
  }

  #showPermission (request) {
    if (this.#permissions.has(request.id)) return
    const { workdir } = this.claude
    const Card = cards[request.kind] ?? PermissionCard
    const run = { sandboxId: this.#sandboxId, runId: this.#runId, workdir, onAnswered: this.#onAnswered }
    const card = new Card(request, run)
    this.#permissions.set(request.id, card)
    this.claude.element.append(card.element)
    this.claude.setWaiting(request.toolUseId, true)
  }

  #resolvePermission (answer) {
    const card = this.#permissions.get(answer.id)
    if (card === undefined) return
    card.resolve(answer)
    if (answer.decision === 'allow') this.claude.setWaiting(card.toolUseId, false)
    else this.claude.deny(card.toolUseId, card.labelOf(answer.decision, answer.by))
  }

  /** What was answered is in the tool's result, so it is there after a reload, too. */
  #showAnswers ({ type, message, tool_use_result: result }) {
    if (type !== 'user' || typeof result?.answers !== 'object' || result.answers === null) return
    const ids = message.content.map((block) => block.tool_use_id)
    for (const card of this.#permissions.values()) if (ids.includes(card.toolUseId)) card.showAnswers?.(result.answers)
  }

  /** Shows output that is not JSON, in its place between the events. */
  #showOutput (text) {
    if (stripAnsi(text).trim() === '') return
    if (this.#output === undefined) {
      this.#output = h('pre', { class: 'output', tabindex: '0', 'aria-label': words.turn.otherOutput })
      this.claude.element.append(this.#output)
    }
    this.#output.append(`${stripAnsi(text).replace(/\n$/, '')}\n`)
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
      this.fail({ message: reason, hint: words.turn.fixHint })
    }
    this.showFooter(run)
  }

  /** Shows how the run ended, its duration and its cost, and how to try again what has failed. */
  showFooter (run) {
    const footer = runFooter(run, { scripted: this.scripted, model: this.claude.model })
    if (footer.hasChildNodes()) this.#body.append(footer)
    if (run.isError && this.#onEdit) this.#body.append(button(words.turn.editAndResend, this.#onEdit, { kind: 'small', symbol: 'pencil' }))
  }
}

function promptElement (prompt, pictures) {
  return h('div', { class: 'prompt', dir: 'auto', tabindex: mayScroll(prompt, pictures) && '0' },
    h('span', { class: 'visually-hidden', dir: words.dir }, words.turn.you),
    prompt,
    pictures.length > 0 && h('div', { class: 'pictures' }, pictures.map((one, at) => picture(one, words.common.picture(at + 1)))))
}

/** A long prompt scrolls, for which a keyboard needs its focus; the others need not stop it. */
function mayScroll (prompt, pictures) {
  return pictures.length > 0 || prompt.length > 500 || prompt.split('\n').length > 12
}
