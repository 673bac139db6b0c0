import { ApiError, asApiError, paths, send } from '../lib/api.js'
import { callAttention, setWorking } from '../lib/attention.js'
import { announce } from '../lib/dom.js'
import { followRun } from '../lib/run-stream.js'

const soon = 300
const notSent = {
  message: 'You stopped before the service could be reached.', hint: 'If your prompt did arrive, its run goes on.'
}

/** One run that is followed on the page: its events go to its turn, and what it is doing to the activity line. */
export class FollowedRun {
  startedAt
  #stopping = false
  #connection = 'connected'
  #following = new AbortController()
  #parts

  /** @param {{sandbox, turn, activity, bar, prompt?, request?, runId?}} parts */
  constructor (parts) {
    this.#parts = parts
    this.runId = parts.runId
    this.prompt = parts.prompt
    this.turn = parts.turn
    this.turn.claude.onActivity = (text) => { if (!this.#stopping) parts.activity.show(text) }
  }

  /** How the run ended; undefined when following it was given up. Throws an ApiError. */
  async follow () {
    const { sandbox, request, activity, bar, turn } = this.#parts
    activity.start()
    setWorking(true)
    announce('Claude is working')
    try {
      const completed = await followRun({
        sandboxId: sandbox.id,
        request,
        runId: this.runId,
        signal: this.#following.signal,
        onEvent: (event, data) => this.#handle(event, data),
        onConnection: (state) => this.#setConnection(state)
      })
      if (completed) tell(completed, this.prompt)
      else if (this.#stopping) throw new ApiError(notSent)
      return completed
    } finally {
      turn.end()
      activity.end()
      bar.setConnection('connected')
      setWorking(false)
    }
  }

  async stop () {
    if (this.#stopping) return
    this.#stopping = true
    this.#parts.activity.stopping()
    announce('Stopping')
    // Before it has an id there is nothing to name: then it is cancelled as soon as it has started.
    if (this.runId !== undefined) await this.#cancel()
    else if (this.#connection !== 'connected') this.leave()
  }

  /** Stops following it; the run goes on. */
  leave () {
    this.#following.abort()
  }

  #handle (event, data) {
    const { activity, bar, turn } = this.#parts
    if (event === 'run.started') {
      this.runId = data.runId
      this.startedAt = data.startedAt
      activity.show(this.#stopping ? 'Stopping' : 'Thinking')
      if (this.#stopping) this.#cancel()
    } else if (event === 'sandbox.expiring') bar.setExpiry(data.expiresAt)
    else if (event === 'permission.requested') setTimeout(() => this.#needYou(), soon)
    else if (event === 'gap') bar.setConnection('gap')
    turn.handle(event, data)
  }

  /** What is told again from its beginning may have its answer already. */
  #needYou () {
    const { request } = this.turn
    if (request === undefined) return
    const text = `It wants to use ${request.toolName}.`
    announce(`Claude needs your permission. ${text}`)
    callAttention('Claude needs your permission', text)
  }

  #setConnection (state) {
    const { activity, bar } = this.#parts
    if (state !== this.#connection) announce(state === 'connected' ? 'Connected again' : 'The connection is lost')
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

function tell ({ isError, outcome }, prompt) {
  const text = outcome === 'cancelled' ? 'The run was stopped' : isError ? 'The run failed' : 'Claude has finished'
  announce(text)
  if (outcome !== 'cancelled') callAttention(text, prompt)
}
