import { h } from '../lib/dom.js'
import { formatDuration, formatTime, promptTokens } from '../lib/format.js'
import { words } from '../lib/words.js'
import { LiveMarkdown } from '../markdown/live.js'
import { loadRenderer } from '../markdown/renderer.js'
import { Series } from './series.js'
import { ToolCard } from './tool-card.js'
import { isTodoTool, Todos, TodoView } from './todos.js'
import { Thinking } from './thinking.js'

/**
 * Renders the CLI's stream-json events. With partial messages each block arrives twice: as deltas while it is being
 * written, then complete. A message that was interrupted starts again, and what it had so far is removed.
 * Subagents use the same stream; their events name the tool call that started them.
 */
export class ClaudeView {
  element = h('div', { class: 'claude' })
  #tools = new Map()
  /** The latest series of tool calls, by the tool call of the subagent that makes them. */
  #series = new Map()
  /** Calls that only change a list of things to do, by their ids; the lists and their views, as above. */
  #todoCalls = new Map()
  #todos
  #todoViews = new Map()
  /** Blocks being written, by the tool call of their subagent; those of the main conversation are under `null`. */
  #live = new Map()
  #retry
  #limit
  /** Messages that the CLI says again after it has compacted the conversation. */
  #kept = new Set()
  #workdir
  model
  result
  /**
   * What the main conversation has in its context, once an answer has told; null when it was emptied since.
   * @type {{model: string, tokens: number} | null | undefined}
   */
  context

  /** Called with what Claude is doing, in a word or two. @type {(activity: string) => void} */
  onActivity = () => {}

  /** Called when `context` has changed. */
  onContext = () => {}

  /** Called with the names of the CLI's commands. @type {(names: string[]) => void} */
  onCommands = () => {}

  /**
   * @param {{workdir: string, todos?: Todos}} options used until Claude's first event names its own;
   * what Claude has set itself to do so far
   */
  constructor ({ workdir, todos }) {
    this.#workdir = workdir
    this.#todos = new Map([[null, new Todos(todos)]])
    // While Claude is still thinking.
    loadRenderer()
  }

  handle (event) {
    if (this.#kept.has(event.uuid)) return
    const agent = event.parent_tool_use_id ?? null
    if (agent === null && isStored(event)) this.lastMessage = event.uuid
    if (event.type === 'stream_event') this.#partial(event.event, agent)
    else if (event.type === 'assistant') this.#assistant(event, agent)
    else if (event.type === 'user') this.#user(event, agent)
    else if (event.type === 'system') this.#system(event)
    else if (event.type === 'rate_limit_event') this.#rateLimit(event.rate_limit_info)
    else if (event.type === 'conversation_reset') this.#startOver()
    else if (event.type === 'result') this.result = event
  }

  /** The stream has ended: unfinished blocks stay as they are, and running tools are marked as stopped. */
  end () {
    for (const live of this.#live.values()) for (const { view } of live) view.finish()
    for (const tool of this.#tools.values()) tool.stop()
    this.#live.clear()
    this.#endRetry()
  }

  /** A tool waits for the user, or goes on. */
  setWaiting (toolUseId, waiting) {
    this.#tools.get(toolUseId)?.setWaiting(waiting)
    this.onActivity(waiting ? words.common.waitingForYou : words.activity.thinking)
  }

  /** Called when what was said before is no longer in the context. */
  onCompacted = () => {}
  /** The id of its latest message in the conversation, if there is one. @type {string | undefined} */
  lastMessage

  /** @param {string} label what has become of the request to use it */
  deny (toolUseId, label) {
    this.#tools.get(toolUseId)?.deny(label)
    this.onActivity(words.activity.thinking)
  }

  /** The changes of files that its tools have made, in their order. */
  get edits () {
    return [...this.#tools.values()].map((tool) => tool.edit).filter(Boolean)
  }

  /** What Claude has set itself to do, for the next turn. */
  get todos () {
    return this.#todos.get(null)
  }

  get workdir () {
    return this.#workdir
  }

  /** Whether this text, such as an error, is shown already. */
  shows (text) {
    return this.element.textContent.includes(text.slice(0, 80))
  }

  #partial (event, agent) {
    if (event.type === 'message_start') {
      for (const { view } of this.#live.get(agent) ?? []) view.remove()
      this.#live.set(agent, [])
      this.onActivity(words.activity.thinking)
    } else if (event.type === 'content_block_start') {
      this.#startBlock(event.content_block, agent)
    } else if (event.type === 'content_block_delta') {
      const { text, thinking } = event.delta
      if (text !== undefined || thinking !== undefined) this.#lastBlock(agent)?.view.append(text ?? thinking)
    }
  }

  #startBlock ({ type, name }, agent) {
    this.#endRetry()
    if (type === 'tool_use') this.onActivity(words.activity.preparing(name))
    if (type === 'text') this.onActivity(words.activity.writing)
    if (type === 'text' || type === 'thinking') this.#openBlock(type, agent)
  }

  #openBlock (type, agent) {
    const view = type === 'text' ? new LiveMarkdown() : new Thinking()
    const block = { type, view }
    this.#liveOf(agent).push(block)
    const series = type === 'thinking' ? this.#openSeries(agent) : undefined
    if (series) series.think(view)
    else this.#containerOf(agent).append(view.element)
    return block
  }

  #liveOf (agent) {
    if (!this.#live.has(agent)) this.#live.set(agent, [])
    return this.#live.get(agent)
  }

  #lastBlock (agent) {
    return this.#live.get(agent)?.at(-1)
  }

  #containerOf (agent) {
    return this.#tools.get(agent)?.children ?? this.element
  }

  #assistant ({ message, error, timestamp }, agent) {
    this.#endRetry()
    this.model = message.model === '<synthetic>' ? this.model : message.model
    const { model, usage } = message
    if (agent === null && usage && typeof model === 'string' && model !== '<synthetic>') {
      this.#setContext({ model, tokens: promptTokens(usage) })
    }
    for (const block of message.content) {
      if (block.type === 'tool_use') this.#startTool(block, agent, timestamp)
      if (block.type === 'text' || block.type === 'thinking') this.#wholeBlock(block, agent, error)
    }
  }

  #wholeBlock (block, agent, error) {
    const live = this.#liveOf(agent)
    const index = live.findIndex(({ type }) => type === block.type)
    const { view } = index === -1 ? this.#openBlock(block.type, agent) : live[index]
    live.splice(index, 1)
    view.finish(block[block.type])
    if (error) view.element.classList.add('failed')
  }

  #startTool (block, agent, timestamp) {
    if (this.#tools.has(block.id)) return
    const tool = new ToolCard(block, { workdir: this.#workdir, startedAt: Date.parse(timestamp) })
    this.#tools.set(block.id, tool)
    if (isTodoTool(block.name)) this.#todoCalls.set(block.id, { ...block, agent })
    else this.#seriesOf(agent).add(tool)
    this.onActivity(words.activity.running(block.name))
  }

  #finishTool (block, endedAt, details) {
    const tool = this.#tools.get(block.tool_use_id)
    tool?.finish(block, endedAt, details)
    const call = this.#todoCalls.get(block.tool_use_id)
    if (call === undefined) return
    this.#todoCalls.delete(block.tool_use_id)
    if (block.is_error) this.#seriesOf(call.agent).add(tool)
    else this.#showTodos(call, tool.output)
  }

  #showTodos ({ name, input, agent }, result) {
    if (!this.#todos.has(agent)) this.#todos.set(agent, new Todos())
    const todos = this.#todos.get(agent)
    todos.apply(name, input, result)
    if (!this.#todoViews.has(agent)) {
      this.#todoViews.set(agent, new TodoView())
      this.#containerOf(agent).append(this.#todoViews.get(agent).element)
    }
    this.#todoViews.get(agent).show(todos)
  }

  /** The series that goes on if a tool is called next: there is nothing after it. */
  #openSeries (agent) {
    const series = this.#series.get(agent)
    return series && series.element === this.#containerOf(agent).lastElementChild ? series : undefined
  }

  #seriesOf (agent) {
    const open = this.#openSeries(agent)
    if (open) return open
    const series = new Series()
    this.#series.set(agent, series)
    this.#containerOf(agent).append(series.element)
    return series
  }

  #user ({ message, timestamp, isReplay, isSynthetic, tool_use_result: details }, agent) {
    if (!Array.isArray(message?.content)) return
    for (const block of message.content) {
      if (block.type === 'tool_result') this.#finishTool(block, Date.parse(timestamp), details)
      else if (block.type === 'text' && !isReplay && !isSynthetic) this.#note(block.text, agent)
    }
    const running = [...this.#tools.values()].findLast((tool) => tool.running)
    this.onActivity(running ? words.activity.running(running.name) : words.activity.thinking)
  }

  #system (event) {
    const { subtype } = event
    if (subtype === 'init') {
      this.#workdir = event.cwd
      this.model = event.model
      if (Array.isArray(event.slash_commands)) this.onCommands(event.slash_commands.filter(isCommand))
    } else if (subtype === 'api_retry') this.#showRetry(event)
    else if (subtype === 'permission_denied') this.#tools.get(event.tool_use_id)?.deny()
    else if (subtype === 'status' && event.status === 'compacting') this.onActivity(words.activity.compacting)
    else if (subtype === 'compact_boundary') this.#showCompacted(event)
  }

  #showCompacted ({ compact_metadata: metadata }) {
    const kept = metadata?.preserved_messages?.uuids
    if (Array.isArray(kept)) this.#kept = new Set(kept)
    this.#setContext(null)
    this.#note(words.turn.compacted, null)
    this.onCompacted()
  }

  #startOver () {
    this.#setContext(null)
    this.#note(words.turn.startedOver, null)
  }

  #setContext (context) {
    this.context = context
    this.onContext()
  }

  #rateLimit ({ status, resetsAt, utilization } = {}) {
    if (status === undefined || status === 'allowed') return
    const used = typeof utilization === 'number' ? Math.round(100 * utilization) : undefined
    const reset = resetsAt ? formatTime(resetsAt * 1000) : undefined
    this.#limit ??= h('p', { class: 'note warn' })
    this.#limit.textContent = status === 'rejected'
      ? words.turn.limitReached(reset)
      : words.turn.limitClose(used, reset)
    this.element.append(this.#limit)
  }

  #note (text, agent) {
    this.#containerOf(agent).append(h('p', { class: 'muted note' }, text))
  }

  /** One line for all attempts, removed when Claude answers. */
  #showRetry ({ attempt, max_retries: maxRetries, retry_delay_ms: delay, error, error_status: status }) {
    const name = String(error ?? words.turn.unknownReason).replaceAll('_', ' ')
    const reason = status ? words.turn.reasonWithStatus(name, status) : name
    this.#retry ??= h('p', { class: 'muted note retry' })
    this.#retry.textContent = words.turn.retry(reason, attempt, maxRetries, formatDuration(delay))
    this.element.append(this.#retry)
    this.onActivity(words.activity.waitingForModel)
  }

  #endRetry () {
    this.#retry?.remove()
    this.#retry = undefined
  }
}

/** Whether it is in the transcript, where a conversation can be forked. */
function isStored ({ type, uuid, message, isReplay, isSynthetic }) {
  return uuid !== undefined && ['assistant', 'user'].includes(type) && message?.model !== '<synthetic>' && !isReplay && !isSynthetic
}

/** Not those that the CLI has for itself. */
function isCommand (name) {
  return typeof name === 'string' && /^[^_\s]\S*$/.test(name)
}
