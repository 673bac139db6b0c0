import type { MethodDefinition, ServiceDefinition } from '@grpc/grpc-js'
import { notFound, unimplemented } from '../control/status.js'
import type { Handlers, Unary } from './adapter.js'

const memory = 'memory snapshots need Modal\'s runtime'
const snapshots = 'snapshots in the background; the SDKs of today take them through the command router'
const exitSnapshots = 'snapshots at the end of a sandbox'
const network = 'the network of a running sandbox can\'t be changed: its allowlist is set when it is created'
const logs = 'entrypoint logs are not kept; read the sandbox\'s stdout and stderr'

const volumes = 'commits and reloads from a client inside a container; those outside have reloadVolumes'
const noFunctions = () => notFound('The local emulator runs no functions, so none is deployed')

/** RPCs that the SDK may call and the emulator can't answer honestly, with the reason. */
const reasons = {
  client: {
    SandboxSnapshot: memory,
    SandboxSnapshotWait: memory,
    SandboxSnapshotGet: memory,
    SandboxRestore: memory,
    SandboxRestoreV2: memory,
    SandboxSnapshotFsAsync: snapshots,
    SandboxGetExitSnapshot: exitSnapshots,
    SandboxGetExitSnapshotV2: exitSnapshots,
    SandboxGetResourceUsage: 'resource usage is not measured',
    AppFetchLogs: logs,
    AppCountLogs: logs,
    VolumeCommit: volumes,
    VolumeReload: volumes,
    FunctionGet: noFunctions
  },
  commandRouter: {
    TaskSnapshotMemory: memory,
    TaskSetNetworkAccess: network,
    TaskSetOutboundPolicy: network
  }
}

/** Requests are not decoded: the answer does not depend on them. */
function service (
  name: string, table: Record<string, string | (() => Error)>
): { definition: ServiceDefinition, handlers: Handlers } {
  const definition: Record<string, MethodDefinition<Buffer, Buffer>> = {}
  const unary: Record<string, Unary> = {}
  for (const [method, reason] of Object.entries(table)) {
    definition[method] = {
      path: `/${name}/${method}`,
      requestStream: false,
      responseStream: false,
      requestSerialize: (bytes: Buffer) => bytes,
      requestDeserialize: (bytes: Buffer) => bytes,
      responseSerialize: (bytes: Buffer) => bytes,
      responseDeserialize: (bytes: Buffer) => bytes
    }
    unary[method] = () => { throw typeof reason === 'string' ? unimplemented(reason) : reason() }
  }
  return { definition, handlers: { unary } }
}

/** Services and handlers of the unsupported RPCs. */
export const unsupported = {
  client: service('modal.client.ModalClient', reasons.client),
  commandRouter: service('modal.task_command_router.TaskCommandRouter', reasons.commandRouter)
}
