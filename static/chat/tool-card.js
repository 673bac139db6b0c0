import { h } from '../lib/dom.js'
import { duration, plain } from '../lib/format.js'
import { icon } from '../lib/icons.js'
import { codeBlock } from '../markdown/code.js'
import { describeTool } from './tool-kinds.js'

/** More than this of one result is for the terminal, not for a page. */
const longest = 200_000

const words = { running: 'Running', done: '', failed: 'Failed', denied: 'Denied', stopped: 'Stopped' }

/** One tool call: a line that opens to what went in and what came out. Failures are open from the start. */
export class ToolCard {
  #state = h('span', { class: 'tool-state' })
  #result = h('div', { class: 'tool-result' })
  #startedAt

  constructor ({ id, name, input }, { workdir, startedAt }) {
    this.id = id
    this.name = name
    this.#startedAt = startedAt
    const { icon: symbol, main, sections } = describeTool(name, input, workdir)
    /** What a subagent does is shown inside of the call that started it. */
    this.children = h('div', { class: 'tool-children' })
    this.element = h('details', { class: 'tool', 'data-tool': name },
      h('summary', {},
        icon(symbol),
        h('span', { class: 'tool-name' }, name),
        h('code', { class: 'tool-main' }, firstLine(main)),
        this.#state),
      h('div', { class: 'tool-body' },
        sections.map(([label, text]) => codeBlock(text, label)),
        this.children,
        this.#result))
    this.#show('running')
  }

  get running () {
    return this.element.dataset.state === 'running'
  }

  /** The `tool_result` block of the CLI, whose content is text or a list of blocks. */
  finish ({ content, is_error: failed }, endedAt) {
    const text = plain(resultText(content))
    const denied = this.element.dataset.state === 'denied'
    this.#show(denied ? 'denied' : failed ? 'failed' : 'done', endedAt)
    const shown = text.length > longest
      ? `${text.slice(0, longest)}\n… ${text.length - longest} more characters`
      : text
    this.#result.replaceChildren(shown.trim() === ''
      ? h('p', { class: 'muted' }, 'No output')
      : codeBlock(failed ? shown.replace(/^<tool_use_error>|<\/tool_use_error>$/g, '') : shown, failed ? 'error' : 'result'))
    if (failed) this.element.open = true
  }

  deny () {
    this.#show('denied')
  }

  /** The run ended before the tool did. */
  stop () {
    if (this.running) this.#show('stopped')
  }

  #show (state, endedAt) {
    this.element.dataset.state = state
    const ms = endedAt - this.#startedAt
    const took = state === 'done' && ms >= 100 ? duration(ms) : ''
    this.#state.textContent = words[state] || took
    if (state === 'done') this.#state.append(icon('check'), h('span', { class: 'visually-hidden' }, 'Done'))
  }
}

function firstLine (text) {
  const [line, ...more] = text.trim().split('\n')
  return more.length > 0 ? `${line} …` : line
}

function resultText (content) {
  if (typeof content === 'string') return content
  if (!Array.isArray(content)) return ''
  return content.map((block) => block.type === 'text' ? block.text : `[${block.type}]`).join('\n')
}
