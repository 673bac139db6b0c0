import { ApiError, getJson, paths } from './api.js'
import { openEvents } from './sse.js'

const maxDelayMs = 5000
const maxRetriesWhileActive = 5
/** Runs whose start this page has seen. Any other in the conversation is from a request whose response was lost. */
const seenRuns = new Set()

/**
 * Follows one run to its end and returns the data of its `run.completed`.
 * A broken connection is resumed after the last event received, so that nothing is shown twice or lost; a request that
 * did not arrive is sent again.
 * Throws an ApiError when the run does not exist or could not be started.
 *
 * @param {object} run
 * @param {string} run.sandboxId
 * @param {object} [run.request] body of the request for a new run, with its `sessionId`
 * @param {string} [run.runId] id of an existing run
 * @param {(event: string, data: any) => void} run.onEvent
 * @param {(state: 'connected' | 'reconnecting') => void} run.onConnection
 * @param {AbortSignal} run.signal stops following; the run continues
 */
export async function followRun ({ sandboxId, request, runId, onEvent, onConnection, signal }) {
  let lastId
  let failures = 0
  let disconnected = false
  while (!signal.aborted) {
    let sending = false
    try {
      if (runId === undefined && disconnected) runId = await findStarted(sandboxId, request.sessionId)
      sending = runId === undefined
      const onOpen = () => onConnection('connected')
      const events = sending
        ? openEvents('POST', paths.claude(sandboxId), { json: request, signal, onOpen })
        : openEvents('GET', paths.events(sandboxId, runId), {
          headers: lastId === undefined ? {} : { 'last-event-id': lastId }, signal, onOpen
        })
      for await (const { event, id, data } of events) {
        failures = 0
        lastId = id ?? lastId
        if (event === 'run.started') seenRuns.add(runId = data.runId)
        onEvent(event, data)
        if (event === 'run.completed') return data
      }
    } catch (error) {
      // A repeated request is refused when the first one did arrive; its run will be found.
      const arrived = disconnected && sending && error.code === 'RUN_ACTIVE' && failures < maxRetriesWhileActive
      const retryable = error instanceof ApiError && error.transient && !(sending && error.fromService)
      if (!arrived && !retryable) throw error
    }
    if (signal.aborted) return
    disconnected = true
    onConnection('reconnecting')
    await pause(Math.min(maxDelayMs, 500 * 2 ** failures++), signal)
  }
}

/** The run started by a request whose response was lost; undefined when the request itself was lost. */
async function findStarted (sandboxId, sessionId) {
  const { runs } = await getJson(paths.claude(sandboxId))
  return runs.find((run) => run.sessionId === sessionId && !seenRuns.has(run.runId))?.runId
}

/** Waits, but ends early when the machine comes online or the page becomes visible. */
function pause (ms, signal) {
  return new Promise((resolve) => {
    const wakers = [[window, 'online'], [document, 'visibilitychange'], [signal, 'abort']]
    const timer = setTimeout(done, ms + Math.random() * 250)
    for (const [target, name] of wakers) target.addEventListener(name, done)
    function done () {
      clearTimeout(timer)
      for (const [target, name] of wakers) target.removeEventListener(name, done)
      resolve()
    }
  })
}
