import type { ModalClient, Sandbox } from 'modal'
import { isNotOffered } from './errors.js'
import { readPages, type PageEnds } from './pages.js'
import { noteListed, unlisted } from './recent.js'
import { tagsOf, type Tags } from './wire-tags.js'

/** A running sandbox of a list. */
export interface Listed {
  sandbox: Sandbox
  /** As the list has them; undefined where it leaves them out: then only the sandbox's own call tells. */
  tags: Tags | undefined
}

const known = new WeakMap<ModalClient, PageEnds>()

/** Which sandboxes are listed: those with all of the tags, in an app or everywhere. */
interface ListParams { appId?: string, tags?: Tags }

/**
 * The running sandboxes with their tags, newest first. Those of one app are all that this process knows of, even if
 * Modal's list does not have them yet.
 */
export async function * listRunning (client: ModalClient, params: ListParams): AsyncGenerator<Listed> {
  const { appId, tags = {} } = params
  const seen = new Set<string>()
  const asked = new Set<string>()
  const missing = async () => appId === undefined ? [] : await unlisted(client, appId, tags, asked)
  // Asked for with the first page: after the last one that would be a round trip more.
  const early = missing()
  early.catch(() => {})
  const ends = known.get(client) ?? new Map()
  known.set(client, ends)
  const rows = readPages(ends, JSON.stringify(params), (before) => askForPage(client, params, before))
  for await (const { id, tags: found } of rows) {
    seen.add(id)
    noteListed(id)
    yield { sandbox: await client.sandboxes.fromId(id), tags: found.length > 0 ? tagsOf(found) : undefined }
  }
  for (const sandbox of [...await early, ...await missing()]) {
    if (!seen.has(sandbox.sandboxId)) yield { sandbox, tags: undefined }
  }
}

/**
 * A page of a list, newest first. The SDK's own list has bare handles (modal 0.11.1, `sandboxes.list`): without tags
 * each sandbox would cost one more call, and without times pages could only be asked for one after the other.
 */
async function askForPage (client: ModalClient, params: ListParams, beforeTimestamp?: number) {
  const { appId, tags = {} } = params
  const { cpClient, profile: { sandboxV2 } } = client
  const request = {
    ...appId !== undefined && { appId },
    ...(appId === undefined || !sandboxV2) && { environmentName: client.environmentName() },
    ...beforeTimestamp !== undefined && { beforeTimestamp },
    includeFinished: false,
    tags: Object.entries(tags).map(([tagName, tagValue]) => ({ tagName, tagValue }))
  }
  return (sandboxV2 ? await cpClient.sandboxListV2(request) : await cpClient.sandboxList(request)).sandboxes
}

/**
 * The running sandboxes of all accounts. One list of the whole environment has them, but Modal's SDK calls that
 * deprecated: where it is refused, the lists of all apps do.
 */
export async function * listRunningOfAll (client: ModalClient, tags: Tags): AsyncGenerator<Listed> {
  let isOffered = false
  try {
    for await (const listed of listRunning(client, { tags })) {
      isOffered = true
      yield listed
    }
    return
  } catch (error) {
    if (isOffered || !isNotOffered(error)) throw error
  }
  const { apps } = await client.cpClient.appList({ environmentName: client.environmentName() })
  for (const { appId, stoppedAt } of apps) if (stoppedAt === 0) yield * listRunning(client, { appId, tags })
}
