import type { Snapshots } from '../images/snapshots.js'
import type { Handlers } from './adapter.js'
import { appHandlers } from './apps.js'
import { fileHandlers } from './files.js'
import { Idempotency } from './idempotency.js'
import { imageHandlers } from './images.js'
import { logHandlers } from './logs.js'
import { queueHandlers } from './queues.js'
import { sandboxHandlers, type SandboxParts } from './sandboxes.js'
import { secretHandlers } from './secrets.js'
import { sidecarCreation, sidecarHandlers } from './sidecars.js'
import { olderSnapshotHandlers, snapshotHandlers } from './snapshots.js'
import { strictly } from './strict.js'
import { taskHandlers } from './tasks.js'
import { tunnelHandlers } from './tunnels.js'
import { type VolumeFileParts, volumeFileHandlers } from './volume-files.js'
import { volumeHandlers } from './volumes.js'

interface Parts extends Omit<SandboxParts, 'idempotency'>, VolumeFileParts { snapshots: Snapshots }

/** The handlers of every supported RPC, by service. */
export function allHandlers (parts: Parts): { client: Handlers, commandRouter: Handlers } {
  const { state, authority, secrets, images, snapshots, volumes, registry, strictness } = parts
  const idempotency = new Idempotency()
  return {
    client: strictly(strictness, merge(
      appHandlers(state, authority),
      imageHandlers(state, images),
      secretHandlers(state, secrets),
      queueHandlers(state),
      volumeHandlers(state, volumes, idempotency),
      sandboxHandlers({ ...parts, idempotency }),
      sidecarCreation({ ...parts, idempotency }),
      tunnelHandlers(registry, authority),
      logHandlers(registry),
      fileHandlers(registry),
      volumeFileHandlers(parts),
      olderSnapshotHandlers(registry, snapshots)
    )),
    commandRouter: merge(
      taskHandlers(registry, secrets),
      snapshotHandlers(registry, images, snapshots),
      sidecarHandlers({ ...parts, idempotency })
    )
  }
}

function merge (...all: Handlers[]): Handlers {
  return {
    unary: Object.assign({}, ...all.map((handlers) => handlers.unary)),
    serverStream: Object.assign({}, ...all.map((handlers) => handlers.serverStream)),
    clientStream: Object.assign({}, ...all.map((handlers) => handlers.clientStream))
  }
}
