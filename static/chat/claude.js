import { h } from '../lib/dom.js'
import { duration } from '../lib/format.js'
import { LiveMarkdown } from '../markdown/live.js'
import { ToolCard } from './tool-card.js'
import { Thinking } from './thinking.js'

/**
 * Shows the CLI's stream-json events. With partial messages each block arrives twice: as deltas while it is written,
 * then whole; a message that broke off starts again, and what it had said until then is dropped.
 * Subagents speak in the same stream, marked with the tool call that started them.
 */
export class ClaudeView {
  element = h('div', { class: 'claude' })
  #tools = new Map()
  /** Blocks being written, by speaker: the main conversation is `null`. */
  #live = new Map()
  #retry
  #limit
  #workdir
  model
  result

  /** Told what Claude is doing now, in a word or two. @type {(activity: string) => void} */
  onActivity = () => {}

  /** @param {{workdir: string}} options where Claude works until it says so itself */
  constructor ({ workdir }) {
    this.#workdir = workdir
  }

  handle (event) {
    const speaker = event.parent_tool_use_id ?? null
    if (event.type === 'stream_event') this.#partial(event.event, speaker)
    else if (event.type === 'assistant') this.#assistant(event, speaker)
    else if (event.type === 'user') this.#user(event, speaker)
    else if (event.type === 'system') this.#system(event)
    else if (event.type === 'rate_limit_event') this.#rateLimit(event.rate_limit_info)
    else if (event.type === 'result') this.result = event
  }

  /** Nothing more comes: what is half done stays, marked as such. */
  end () {
    for (const live of this.#live.values()) for (const { view } of live) view.finish()
    for (const tool of this.#tools.values()) tool.stop()
    this.#live.clear()
    this.#endRetry()
  }

  get workdir () {
    return this.#workdir
  }

  /** Whether what went wrong is on the page already. */
  shows (text) {
    return this.element.textContent.includes(text.slice(0, 80))
  }

  #partial (event, speaker) {
    if (event.type === 'message_start') {
      for (const { view } of this.#live.get(speaker) ?? []) view.remove()
      this.#live.set(speaker, [])
      this.onActivity('Thinking')
    } else if (event.type === 'content_block_start') {
      this.#startBlock(event.content_block, speaker)
    } else if (event.type === 'content_block_delta') {
      const { text, thinking } = event.delta
      if (text !== undefined || thinking !== undefined) this.#newest(speaker)?.view.append(text ?? thinking)
    }
  }

  #startBlock ({ type, name }, speaker) {
    this.#endRetry()
    if (type === 'tool_use') this.onActivity(`Preparing ${name}`)
    if (type === 'text') this.onActivity('Writing')
    if (type === 'text' || type === 'thinking') this.#openBlock(type, speaker)
  }

  #openBlock (type, speaker) {
    const view = type === 'text' ? new LiveMarkdown() : new Thinking()
    const block = { type, view }
    this.#liveOf(speaker).push(block)
    this.#place(speaker).append(view.element)
    return block
  }

  #liveOf (speaker) {
    if (!this.#live.has(speaker)) this.#live.set(speaker, [])
    return this.#live.get(speaker)
  }

  #newest (speaker) {
    return this.#live.get(speaker)?.at(-1)
  }

  #place (speaker) {
    return this.#tools.get(speaker)?.children ?? this.element
  }

  #assistant ({ message, error, timestamp }, speaker) {
    this.#endRetry()
    this.model = message.model === '<synthetic>' ? this.model : message.model
    for (const block of message.content) {
      if (block.type === 'tool_use') this.#startTool(block, speaker, timestamp)
      if (block.type === 'text' || block.type === 'thinking') this.#wholeBlock(block, speaker, error)
    }
  }

  #wholeBlock (block, speaker, error) {
    const live = this.#liveOf(speaker)
    const index = live.findIndex(({ type }) => type === block.type)
    const { view } = index === -1 ? this.#openBlock(block.type, speaker) : live[index]
    live.splice(index, 1)
    view.finish(block[block.type])
    if (error) view.element.classList.add('failed')
  }

  #startTool (block, speaker, timestamp) {
    if (this.#tools.has(block.id)) return
    const tool = new ToolCard(block, { workdir: this.#workdir, startedAt: Date.parse(timestamp) })
    this.#tools.set(block.id, tool)
    this.#place(speaker).append(tool.element)
    this.onActivity(`Running ${block.name}`)
  }

  #user ({ message, timestamp, isReplay, isSynthetic }, speaker) {
    if (!Array.isArray(message?.content)) return
    for (const block of message.content) {
      if (block.type === 'tool_result') this.#tools.get(block.tool_use_id)?.finish(block, Date.parse(timestamp))
      else if (block.type === 'text' && !isReplay && !isSynthetic) this.#note(block.text, speaker)
    }
    const running = [...this.#tools.values()].findLast((tool) => tool.running)
    this.onActivity(running ? `Running ${running.name}` : 'Thinking')
  }

  #system (event) {
    const { subtype } = event
    if (subtype === 'init') {
      this.#workdir = event.cwd
      this.model = event.model
    } else if (subtype === 'api_retry') this.#showRetry(event)
    else if (subtype === 'permission_denied') this.#tools.get(event.tool_use_id)?.deny()
    else if (subtype === 'status' && event.status === 'compacting') this.onActivity('Compacting the conversation')
    else if (subtype === 'compact_boundary') this.#note('The conversation was compacted to make room.', null)
  }

  #rateLimit ({ status, resetsAt, utilization } = {}) {
    if (status === undefined || status === 'allowed') return
    const used = typeof utilization === 'number' ? ` (${Math.round(100 * utilization)} % used)` : ''
    const reset = resetsAt ? `, until ${new Date(resetsAt * 1000).toLocaleTimeString()}` : ''
    this.#limit ??= h('p', { class: 'note warn' })
    this.#limit.textContent = status === 'rejected'
      ? `The limit of your plan is reached${reset}.`
      : `The limit of your plan is close${used}${reset}.`
    this.element.append(this.#limit)
  }

  #note (text, speaker) {
    this.#place(speaker).append(h('p', { class: 'muted note' }, text))
  }

  /** One line for all attempts; it goes when Claude answers. */
  #showRetry ({ attempt, max_retries: most, retry_delay_ms: delay, error, error_status: status }) {
    const reason = `${String(error ?? 'unknown').replaceAll('_', ' ')}${status ? `, ${status}` : ''}`
    this.#retry ??= h('p', { class: 'muted note retry' })
    this.#retry.textContent = `No answer from the model (${reason}). Attempt ${attempt} of ${most} in ${duration(delay)}.`
    this.element.append(this.#retry)
    this.onActivity('Waiting for the model')
  }

  #endRetry () {
    this.#retry?.remove()
    this.#retry = undefined
  }
}
