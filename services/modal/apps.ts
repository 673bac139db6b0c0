import type { ModalClient } from 'modal'
import { unlessMissing } from './errors.js'

/** More accounts than are at work at one time. */
const mostKnown = 10_000

/** Ids of apps by name, of each client. */
const known = new WeakMap<ModalClient, Map<string, string>>()

/**
 * What `work` finds in the app of this name; undefined when there is none. It begins while Modal is asked for the app,
 * in the one that had the name before; but only Modal's answer counts, as an app that was stopped and made again has
 * another id. So it may be called twice, and must change nothing.
 * @throws what the lookup or the work throws.
 */
export async function lookInApp<T> (
  client: ModalClient, name: string, work: (appId: string) => Promise<T>
): Promise<T | undefined> {
  const ids = known.get(client) ?? new Map<string, string>()
  known.set(client, ids)
  const id = ids.get(name)
  const early = id === undefined ? undefined : work(id)
  early?.catch(() => {})
  const app = await unlessMissing(client.apps.fromName(name))
  ids.delete(name)
  if (app === undefined) return
  if (ids.size >= mostKnown) ids.clear()
  ids.set(name, app.appId)
  return await (app.appId === id ? early : work(app.appId))
}
