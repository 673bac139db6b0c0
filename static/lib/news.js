/**
 * What happens to a conversation, for whoever on the page, or in other tabs of this browser, shows something of it.
 * Other browsers learn it from the service.
 *
 * @typedef {{kind: 'state' | 'changed' | 'deleted' | 'ended', sandboxId: string, sandbox?: object, sessionId?: string,
 *   title?: string, state?: 'working' | 'waiting' | ''}} News
 * `changed` without a title: it has none of its own any more. `ended`: the sandbox
 */
const listeners = new Set()
const channel = window.BroadcastChannel && new window.BroadcastChannel('modal-sandbox')
channel?.addEventListener('message', ({ data }) => { for (const listener of listeners) listener(data) })

/** @param {News} news */
export function tell (news) {
  for (const listener of listeners) listener(news)
  channel?.postMessage(news)
}

/** @param {(news: News) => void} listener @returns a function that stops it */
export function onNews (listener) {
  listeners.add(listener)
  return () => listeners.delete(listener)
}
