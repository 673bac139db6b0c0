import { ApiError, getJson, paths } from './api.js'
import { openEvents } from './sse.js'

const longestWait = 5000
const mostRefusals = 5
/** Runs that this page knows of: one more in the same conversation is the one whose start we did not hear of. */
const known = new Set()

/**
 * Follows one run to its end and gives its `run.completed`.
 * A connection that breaks is taken up again after the last event seen, so that nothing is shown twice or left out;
 * a request that did not arrive is sent again.
 * Throws an ApiError when there is nothing to follow (any more).
 *
 * @param {object} run
 * @param {string} run.sandboxId
 * @param {object} [run.request] body of a new run, with its `sessionId`
 * @param {string} [run.runId] a run that exists already
 * @param {(event: string, data: any) => void} run.onEvent
 * @param {(state: 'connected' | 'reconnecting') => void} run.onConnection
 * @param {AbortSignal} run.signal stops following, not the run
 */
export async function followRun ({ sandboxId, request, runId, onEvent, onConnection, signal }) {
  let lastId
  let failures = 0
  let lost = false
  while (!signal.aborted) {
    let sending = false
    try {
      if (runId === undefined && lost) runId = await findStarted(sandboxId, request.sessionId)
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
        if (event === 'run.started') known.add(runId = data.runId)
        onEvent(event, data)
        if (event === 'run.completed') return data
      }
    } catch (error) {
      // Sent twice: the first one did arrive, and is about to be found.
      const arrived = lost && sending && error.code === 'RUN_ACTIVE' && failures < mostRefusals
      const passes = error instanceof ApiError && error.passing && !(sending && error.answered)
      if (!arrived && !passes) throw error
    }
    lost = true
    if (!signal.aborted) onConnection('reconnecting')
    await pause(Math.min(longestWait, 500 * 2 ** failures++), signal)
  }
}

/** The run that was started by a request whose answer got lost; undefined when the request got lost. */
async function findStarted (sandboxId, sessionId) {
  const { runs } = await getJson(paths.claude(sandboxId))
  return runs.find((run) => run.sessionId === sessionId && !known.has(run.runId))?.runId
}

/** Waits, but not longer than until the machine is online again or somebody looks at the page. */
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
