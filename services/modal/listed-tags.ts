import type { ModalClient, Sandbox, SandboxListParams } from 'modal'
import type { ClientMiddleware } from 'nice-grpc-common'
import { isNotOffered } from './errors.js'
import { noteListed, unlisted } from './recent.js'
import { tagsOf, type Tags, type WireTag } from './wire-tags.js'

/** A running sandbox of a list. */
export interface Listed {
  sandbox: Sandbox
  /** As the list has them; undefined where it leaves them out: then only the sandbox's own call tells. */
  tags: Tags | undefined
}

/** SandboxListResponse, of V1 and V2: `sandboxes` are SandboxInfo messages. */
interface ListResponse { sandboxes?: { id: string, tags?: WireTag[] }[] }

const listMethod = /\/SandboxList(?:V2)?$/

/** Tags from the answers that arrived while lists are being read. */
const arrived = new Map<string, Tags>()
let lists = 0

/**
 * gRPC middleware: Modal's lists name the tags of each sandbox, but the SDK's have bare handles (modal 0.11.1,
 * `sandboxes.list`). Without them each sandbox would cost one more call.
 */
export const tapListedTags: ClientMiddleware = async function * (call, options) {
  if (lists === 0 || call.responseStream || !listMethod.test(call.method.path)) {
    return yield * call.next(call.request, options)
  }
  const response = yield * call.next(call.request, options)
  for (const { id, tags = [] } of (response as ListResponse | undefined)?.sandboxes ?? []) {
    if (tags.length > 0) arrived.set(id, tagsOf(tags))
  }
  return response
}

/**
 * The running sandboxes with their tags, page by page as they are asked for. Those of one app are all that this process
 * knows of, even if Modal's list does not have them yet.
 */
export async function * listRunning (client: ModalClient, params: SandboxListParams): AsyncGenerator<Listed> {
  const { appId, tags = {} } = params
  const seen = new Set<string>()
  const asked = new Set<string>()
  const missing = async () => appId === undefined ? [] : await unlisted(client, appId, tags, asked)
  // Asked for with the first page: after the last one that would be a round trip more.
  const early = missing()
  early.catch(() => {})
  lists++
  try {
    for await (const sandbox of client.sandboxes.list(params)) {
      seen.add(sandbox.sandboxId)
      noteListed(sandbox.sandboxId)
      yield { sandbox, tags: arrived.get(sandbox.sandboxId) }
    }
  } finally {
    if (--lists === 0) arrived.clear()
  }
  for (const sandbox of [...await early, ...await missing()]) {
    if (!seen.has(sandbox.sandboxId)) yield { sandbox, tags: undefined }
  }
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
