import { ApiError, asApiError, paths, send } from '../lib/api.js'
import { callAttention } from '../lib/attention.js'
import { announce } from '../lib/dom.js'
import { followRun } from '../lib/run-stream.js'
import { words } from '../lib/words.js'

/** A replayed request is followed by its answer within this time. */
const permissionAlertDelayMs = 300
const notSent = { message: words.run.notSent, hint: words.run.notSentHint }

/** A run that the page follows: its events go to its turn, and its activity to the activity line. */
export class FollowedRun {
  startedAt
  #stopping = false
  #hasCommand = false
  #connection = 'connected'
  #following = new AbortController()
  #parts

  #started
  /** Resolves when the service has taken the run, or has not. */
  started = new Promise((resolve) => { this.#started = resolve })

  /** @param {{sandbox, turn, activity, bar, onState, onCommand: () => void, prompt?, request?, runId?}} parts */
  constructor (parts) {
    this.#parts = parts
    this.runId = parts.runId
    this.prompt = parts.prompt
    this.turn = parts.turn
    this.turn.claude.onActivity = (text) => this.#showActivity(text)
  }

  /** @returns how the run ended; undefined if the page stopped following it. Throws an ApiError. */
  async follow () {
    const { sandbox, request, activity, onState } = this.#parts
    activity.start()
    onState('working')
    announce(words.run.working)
    try {
      const completed = await followRun({
        sandboxId: sandbox.id,
        request,
        runId: this.runId,
        signal: this.#following.signal,
        onEvent: (event, data) => this.#handle(event, data),
        onConnection: (state) => this.#setConnection(state)
      })
      if (completed) announceEnd(completed, this.prompt)
      else if (this.#stopping) throw new ApiError(notSent)
      return completed
    } finally {
      this.#started()
      if (!this.#following.signal.aborted) this.#end()
      onState('')
    }
  }

  #end () {
    const { activity, bar, turn } = this.#parts
    turn.end()
    activity.end()
    bar.setConnection('connected')
  }

  async stop () {
    if (this.#stopping) return
    this.#stopping = true
    this.#parts.activity.stopping()
    announce(words.activity.stopping)
    // Without an id yet, it is cancelled as soon as it has started.
    if (this.runId !== undefined) await this.#cancel()
    else if (this.#connection !== 'connected') this.leave()
  }

  /** Stops following the run, which continues. */
  leave () {
    this.#following.abort()
    this.#end()
  }

  #handle (event, data) {
    const { activity, bar, turn } = this.#parts
    if (event === 'run.started') {
      this.runId = data.runId
      this.startedAt = data.startedAt
      this.#started()
      activity.show(this.#stopping ? words.activity.stopping : words.activity.thinking)
      if (this.#stopping) this.#cancel()
    } else if (event === 'sandbox.expiring') bar.setExpiry(data.expiresAt)
    else if (event === 'permission.requested') setTimeout(() => this.#alertPermission(), permissionAlertDelayMs)
    else if (event === 'gap') bar.setConnection('gap')
    else if (event === 'claude') this.#noticeCommands(data)
    turn.handle(event, data)
  }

  /** Tells of commands that have ended; in the background, their programs may go on. */
  #noticeCommands ({ type, message }) {
    if (type === 'assistant') this.#hasCommand ||= message.content.some(({ name }) => name === 'Bash')
    if (type !== 'user' || !this.#hasCommand) return
    this.#hasCommand = false
    this.#parts.onCommand()
  }

  /** Whatever else Claude does at the same time, as in a subagent: as long as it waits, that is what counts. */
  #showActivity (text) {
    if (this.#stopping) return
    const waiting = this.turn.openRequest !== undefined
    this.#parts.onState(waiting ? 'waiting' : 'working')
    this.#parts.activity.show(waiting ? words.common.waitingForYou : text, { waiting })
  }

  /** Unless the request has been answered meanwhile, as in a run that is replayed. */
  #alertPermission () {
    const request = this.turn.openRequest
    if (request === undefined) return
    announce(words.run.alert(request.alert, request.summary))
    callAttention(request.alert, request.summary)
    request.show()
  }

  #setConnection (state) {
    const { activity, bar } = this.#parts
    if (state !== this.#connection) announce(state === 'connected' ? words.run.connectedAgain : words.run.connectionLost)
    this.#connection = state
    activity.setConnected(state === 'connected')
    bar.setConnection(state)
  }

  async #cancel () {
    const { sandbox, turn, activity } = this.#parts
    try {
      await send('POST', paths.cancel(sandbox.id, this.runId))
    } catch (error) {
      this.#stopping = false
      turn.fail(asApiError(error))
      activity.start()
    }
  }
}

function announceEnd ({ isError, outcome }, prompt) {
  const text = outcome === 'cancelled' ? words.run.stopped : isError ? words.run.failed : words.run.finished
  announce(text)
  if (outcome !== 'cancelled') callAttention(text, prompt)
}
