import { h } from '../lib/dom.js'
import { formatDuration, stripAnsi } from '../lib/format.js'
import { icon } from '../lib/icons.js'
import { picture, picturesIn } from '../lib/pictures.js'
import { words } from '../lib/words.js'
import { codeBlock, highlight } from '../markdown/code.js'
import { diffSize, diffView, placeOf } from './diff.js'
import { describeTool } from './tool-kinds.js'

/** A result is cut to this many lines until the user asks for more, and always to this many characters. */
const initialLines = 200
const maxCharacters = 500_000

const stateLabels = {
  running: words.tools.running, waiting: words.common.waitingForYou, stopped: words.tools.stopped
}

/** One tool call: a line that opens to show input and output. That of a failed one has the beginning of the error. */
export class ToolCard {
  #state = h('span', { class: 'tool-state' })
  #error = h('span', { class: 'tool-error', hidden: true })
  #patch
  #result = h('div', { class: 'tool-result' })
  #body = h('div', { class: 'tool-body' })
  #startedAt
  #described
  /** What pictures in its result are called. */
  #pictureName
  #filled = false
  #output
  /** What has become of the request to use it, if that was denied. */
  #denial

  /** Called when its state has changed. */
  onState = () => {}

  constructor ({ name, input }, { workdir, startedAt }) {
    this.name = name
    this.#startedAt = startedAt
    this.#described = describeTool(name, input, workdir)
    this.#pictureName = String(input?.file_path ?? words.tools.pictureFrom(name)).split('/').at(-1)
    const { icon: symbol, category, main, changes } = this.#described
    /** A subagent's work is shown inside the call that started it. */
    this.children = h('div', { class: 'tool-children' })
    this.element = h('details', { class: 'tool', 'data-tool': name, 'data-category': category, ontoggle: () => this.#fill() },
      h('summary', {},
        icon(symbol),
        h('span', { class: 'tool-name' }, name),
        h('code', { class: 'tool-main' }, firstLine(main)),
        changes.length > 0 && h('span', { class: 'tool-size' }, diffSize(...changes[0])),
        this.#state,
        this.#error),
      this.#body)
    this.#body.append(this.children, this.#result)
    if (category === 'agent') this.element.open = true
    this.#show('running')
  }

  /** Whether it has ended well. */
  get done () {
    return this.element.dataset.state === 'done'
  }

  /** The text of its result. */
  get output () {
    return this.#output?.text ?? ''
  }

  /** What it has changed in a file; undefined if it is no such tool, or has not succeeded. */
  get edit () {
    const { category, main: path, changes } = this.#described
    if (category === 'change' && this.done) return { tool: this.name, path, changes, patch: this.#patch }
  }

  get running () {
    return this.element.dataset.state === 'running'
  }

  /**
   * Shows the CLI's `tool_result` block, whose content is text or a list of blocks. `details` is what else it says of
   * the result while it happens.
   */
  finish ({ content, is_error: failed }, endedAt, details) {
    const pictures = Array.isArray(content) ? picturesIn(content) : []
    this.#output = { text: stripAnsi(resultText(content)), failed, pictures }
    this.#patch = details?.structuredPatch
    const ms = endedAt - this.#startedAt
    this.#show(this.#denial ? 'denied' : failed ? 'failed' : 'done', ms)
    if (this.#filled) this.#showOutput()
    if (failed) this.#showError()
    else if (this.#described.category === 'agent') this.element.open = false
  }

  deny (label = words.permission.denied) {
    this.#denial = label
    this.#show('denied')
  }

  /** Whether the user has yet to allow or to answer it. */
  setWaiting (waiting) {
    if (this.#output === undefined) this.#show(waiting ? 'waiting' : 'running')
  }

  /** The run has ended before the tool did. */
  stop () {
    if (this.running || this.element.dataset.state === 'waiting') this.#show('stopped')
  }

  #show (state, ms) {
    this.element.dataset.state = state
    const labels = { ...stateLabels, failed: this.#described.failed, denied: this.#denial }
    this.#state.textContent = labels[state] ?? (ms >= 100 ? formatDuration(ms) : '')
    if (state === 'done') this.#state.append(icon('check'), h('span', { class: 'visually-hidden' }, words.common.done))
    this.onState()
  }

  /** Its first lines, as the first one alone may be no more than a number. */
  #showError () {
    const lines = withoutTag(this.#output.text).split('\n').map((line) => line.trim()).filter(Boolean)
    this.#error.textContent = lines.slice(0, 2).join(' · ').slice(0, 300)
    this.#error.hidden = lines.length === 0
  }

  /** Renders the content of a card when it is first opened, as there may be hundreds of cards. */
  #fill () {
    if (this.#filled || !this.element.open) return
    this.#filled = true
    const { texts, changes, main } = this.#described
    this.#body.prepend(
      // What the line of the card says already is not said again.
      ...texts.filter(([, text]) => text.trim() !== main.trim() || text.includes('\n')).map(([label, text]) => codeBlock(text, label)),
      ...changes.map(([before, after]) => diffView(before, after, { firstLine: before === '' ? 1 : placeOf(this.#patch, before) })))
    highlight(this.#body)
    if (this.#output) this.#showOutput()
  }

  #showOutput () {
    const { text, failed, pictures } = this.#output
    // Of a change that was made the result says no more than that.
    if (this.#described.changes.length > 0 && !failed) return
    if (pictures.length > 0) this.#result.after(h('div', { class: 'pictures' }, pictures.map((one) => picture(one, this.#pictureName))))
    if (text.trim() === '' && pictures.length > 0) return
    if (text.trim() === '') return this.#result.replaceChildren(h('p', { class: 'muted' }, words.tools.noOutput))
    const cut = text.length > maxCharacters ? `\n${words.tools.moreCharacters(text.length - maxCharacters)}` : ''
    const whole = (failed ? withoutTag(text) : text).slice(0, maxCharacters) + cut
    const lines = whole.split('\n')
    const figure = codeBlock(lines.slice(0, initialLines).join('\n'), failed ? 'error' : 'result')
    this.#result.replaceChildren(figure)
    if (lines.length <= initialLines) return
    const more = h('button', {
      type: 'button',
      class: 'more',
      onclick: () => {
        figure.querySelector('code').textContent = whole
        more.remove()
      }
    }, words.tools.showMore(lines.length - initialLines))
    figure.append(more)
  }
}

function withoutTag (text) {
  return text.replace(/^<tool_use_error>|<\/tool_use_error>$/g, '')
}

function firstLine (text) {
  const [line, ...more] = text.trim().split('\n')
  return more.length > 0 ? `${line} …` : line
}

function resultText (content) {
  if (typeof content === 'string') return content
  if (!Array.isArray(content)) return ''
  const blocks = content.filter((block) => block?.type !== 'image')
  return blocks.map((block) => block?.type === 'text' ? block.text : `[${block?.type}]`).join('\n')
}
