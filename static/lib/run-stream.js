import { ApiError, offline, paths } from './api.js'
import { openEvents } from './sse.js'

const longestWait = 5000

/**
 * Follows one run to its end and gives its `run.completed`.
 * A connection that breaks is taken up again after the last event seen, so that nothing is shown twice or left out.
 * Throws an ApiError when there is nothing to follow (any more).
 *
 * @param {object} run
 * @param {string} run.sandboxId
 * @param {object} [run.request] body of a new run
 * @param {string} [run.runId] a run that exists already
 * @param {(event: string, data: any) => void} run.onEvent
 * @param {(state: 'connected' | 'reconnecting') => void} run.onConnection
 * @param {AbortSignal} run.signal stops following, not the run
 */
export async function followRun ({ sandboxId, request, runId, onEvent, onConnection, signal }) {
  let lastId
  let failures = 0
  while (!signal.aborted) {
    try {
      const onOpen = () => onConnection('connected')
      const events = runId === undefined
        ? openEvents('POST', paths.claude(sandboxId), { json: request, signal, onOpen })
        : openEvents('GET', paths.events(sandboxId, runId), {
          headers: lastId === undefined ? {} : { 'last-event-id': lastId }, signal, onOpen
        })
      for await (const { event, id, data } of events) {
        failures = 0
        lastId = id ?? lastId
        if (event === 'run.started') runId = data.runId
        onEvent(event, data)
        if (event === 'run.completed') return data
      }
    } catch (error) {
      if (!(error instanceof ApiError) || !error.passing || runId === undefined) throw error
    }
    if (runId === undefined && !signal.aborted) throw offline()
    if (!signal.aborted) onConnection('reconnecting')
    await pause(Math.min(longestWait, 500 * 2 ** failures++), signal)
  }
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
