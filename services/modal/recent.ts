import type { ModalClient, Sandbox } from 'modal'
import type { ClientMiddleware } from 'nice-grpc-common'
import type { AppError } from '../../errors.js'
import { endingOf, gone } from './ending.js'
import { tagsOf, type Tags, type WireTag } from './wire-tags.js'

interface Created { id: string, appId: string, tags: Tags, at: number }

interface CreateRequest { appId: string, tags: WireTag[] }

const createMethod = /\/SandboxCreate(?:V2)?$/
/** How long a list may lack a new sandbox: then one that still is not in it counts as gone. */
const longestMs = 5 * 60_000
const maxCreated = 1000

/** Those that no list has had yet, by id. */
const created = new Map<string, Created>()

/**
 * gRPC middleware: how soon Modal's lists show a new sandbox is not documented, and what this process has created must
 * not be missing when limits are checked, or when a volume is about to be deleted.
 */
export const tapCreates: ClientMiddleware = async function * (call, options) {
  const response = yield * call.next(call.request, options)
  if (call.responseStream || !createMethod.test(call.method.path)) return response
  const { appId, tags } = call.request as CreateRequest
  const { sandboxId: id } = response as { sandboxId: string }
  created.set(id, { id, appId, tags: tagsOf(tags), at: Date.now() })
  if (created.size > maxCreated) created.delete(created.keys().next().value!)
  return response
}

/** To be called with the sandboxes of a list. */
export function noteListed (id: string): void {
  created.delete(id)
}

/**
 * The running sandboxes of an app that this process has created with such tags, and that no list has had yet.
 * @param asked the ids of those that are left out; the others are added.
 * @throws {AppError} MODAL_* when one of them can't be asked.
 */
export async function unlisted (
  client: ModalClient, appId: string, tags: Tags, asked: Set<string>
): Promise<Sandbox[]> {
  const wanted = Object.entries(tags)
  const found = [...created.values()].filter((one) => one.appId === appId && !asked.has(one.id))
    .filter((one) => wanted.every(([name, value]) => one.tags[name] === value))
  for (const { id } of found) asked.add(id)
  const running = await Promise.all(found.map(async (one) => {
    const sandbox = await client.sandboxes.fromId(one.id)
    if (Date.now() < one.at + longestMs && await isRunning(sandbox)) return sandbox
    created.delete(one.id)
  }))
  return running.filter((sandbox) => sandbox !== undefined)
}

async function isRunning (sandbox: Sandbox): Promise<boolean> {
  return await endingOf(sandbox, gone).then((ending) => ending === null, (error: AppError) => {
    if (error.code !== 'SANDBOX_NOT_FOUND') throw error
    return false
  })
}
