import { getJson, paths } from './api.js'

/** All running sandboxes of the account, newest first. */
export async function listRunning () {
  const running = []
  let cursor
  do {
    const query = new URLSearchParams({ limit: '100', ...(cursor && { cursor }) })
    const page = await getJson(`${paths.sandboxes}?${query}`)
    running.push(...page.sandboxes.filter(({ status }) => status === 'running'))
    cursor = page.nextCursor
  } while (cursor)
  return running
}
