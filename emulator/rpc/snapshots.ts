import { failedPrecondition, invalid, notFound, unimplemented } from '../control/status.js'
import type { ImageBuilds } from '../images/builds.js'
import type { Snapshots } from '../images/snapshots.js'
import { resultStatus } from '../proto/messages.js'
import { isReserved, mountPathOf } from '../sandboxes/definition.js'
import type { SandboxRegistry } from '../sandboxes/registry.js'
import type { Sandbox } from '../sandboxes/sandbox.js'
import type { Inside } from '../sandboxes/sidecar.js'
import type { Context, Handlers } from './adapter.js'
import { sandboxOfTask } from './sandbox-of-task.js'

interface TaskMessage { taskId: string, containerId: string, customerSuppliedEncryptionKey?: Buffer }
interface SnapshotMessage extends TaskMessage { snapshotId: string, ttlSeconds?: number }
interface PathMessage extends TaskMessage { path: Buffer }

const defaultSeconds = 30 * 24 * 3600
const forEver = -1

/** Images from a running sandbox, and images in one. */
export function snapshotHandlers (registry: SandboxRegistry, images: ImageBuilds, snapshots: Snapshots): Handlers {
  /** By snapshot id: a repeated call gets the first one's image. */
  const made = new Map<string, Promise<{ imageId: string }>>()

  const once = (sandbox: Sandbox, snapshotId: string, make: () => Promise<string>) => {
    const key = `${sandbox.id} ${snapshotId}`
    const known = made.get(key)
    if (snapshotId !== '' && known) return known
    const answer = make().then((imageId) => ({ imageId }))
    made.set(key, answer)
    answer.catch(() => { made.delete(key) })
    sandbox.ended.finally(() => { made.delete(key) }).catch(() => {})
    return answer
  }
  const placeOf = (request: TaskMessage, context: Context): { sandbox: Sandbox, inside: Inside } => {
    const { taskId, containerId, customerSuppliedEncryptionKey } = request
    const sandbox = sandboxOfTask(registry, taskId, context)
    if (customerSuppliedEncryptionKey?.length) throw unimplemented('encrypted snapshots')
    if (!sandbox.running) throw notFound(`Sandbox ${sandbox.id} has already finished`)
    const inside = sandbox.inside(containerId)
    if (!inside.running) throw notFound(`Container ${containerId} has already finished`)
    return { sandbox, inside }
  }

  return {
    unary: {
      async TaskSnapshotFilesystem (request: SnapshotMessage, context) {
        const { sandbox, inside } = placeOf(request, context)
        const seconds = secondsOf(request.ttlSeconds)
        return await once(sandbox, request.snapshotId, async () =>
          await snapshots.ofFilesystem(await inside.started, inside.image, seconds))
      },
      async TaskSnapshotDirectory (request: SnapshotMessage & PathMessage, context) {
        const { sandbox, inside } = placeOf(request, context)
        const [path, seconds] = [pathOf(request), secondsOf(request.ttlSeconds)]
        return await once(sandbox, request.snapshotId, async () =>
          await snapshots.ofDirectory(await inside.started, path, seconds))
      },
      async TaskMountDirectory (request: PathMessage & { imageId: string }, context) {
        const { inside } = placeOf(request, context)
        const path = pathOf(request)
        if (inside.volumeMounts.some(({ mountPath }) => mountPathOf(mountPath) === path)) throw failedPrecondition(`A volume is mounted at ${path}`)
        const image = request.imageId === '' ? undefined : await images.built(request.imageId)
        await (await inside.started).mountImage(path, image?.rootfs)
        return {}
      },
      async TaskUnmountDirectory (request: PathMessage, context) {
        await (await placeOf(request, context).inside.started).unmountImage(pathOf(request))
        return {}
      }
    }
  }
}

/** As SDKs of before the command router take them, of V1 sandboxes. */
export function olderSnapshotHandlers (registry: SandboxRegistry, snapshots: Snapshots): Handlers {
  return {
    unary: {
      async SandboxSnapshotFs ({ sandboxId }: { sandboxId: string }) {
        const sandbox = registry.byId(sandboxId, 'V1')
        if (!sandbox.running) throw notFound(`Sandbox ${sandboxId} has already finished`)
        const imageId = await snapshots.ofFilesystem(await sandbox.started, sandbox.info.image, defaultSeconds)
        return { imageId, result: { status: resultStatus.success } }
      }
    }
  }
}

/** Absolute and normalized, of a directory that is the sandbox's own. @throws {StatusError} INVALID_ARGUMENT */
function pathOf ({ path }: PathMessage): string {
  const text = path.toString()
  if (!text.startsWith('/') || text.includes('\0')) throw invalid(`The path of a directory must be absolute, got: ${text}`)
  const normalized = mountPathOf(text)
  if (normalized === '/' || isReserved(normalized)) throw invalid(`Images are neither mounted at ${normalized} nor made of it`)
  return normalized
}

function secondsOf (ttlSeconds = defaultSeconds): number | undefined {
  if (ttlSeconds === forEver) return undefined
  if (ttlSeconds < 1) throw invalid(`ttl_seconds must be positive, or -1 for no end, got ${ttlSeconds}`)
  return ttlSeconds
}
