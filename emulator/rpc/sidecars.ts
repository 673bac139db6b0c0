import { invalid, notFound, unimplemented } from '../control/status.js'
import { type Secrets, variables } from '../control/secrets.js'
import type {
  PtyInfo, SandboxDefinition, SecretSource, StringMap, VolumeMountMessage
} from '../proto/messages.js'
import { type CreateParts } from '../sandboxes/create.js'
import { createSidecar, type SidecarRequest } from '../sandboxes/create-sidecar.js'
import { refuseUnsupported } from '../sandboxes/definition.js'
import type { Sandbox } from '../sandboxes/sandbox.js'
import type { Sidecar } from '../sandboxes/sidecar.js'
import { type Context, type Handlers, settledWithin } from './adapter.js'
import type { Idempotency } from './idempotency.js'
import { sandboxOfTask } from './sandbox-of-task.js'

/** On the control plane, of V2 sandboxes. */
interface CreateV2Message {
  sandboxId: string
  containerName: string
  definition: SandboxDefinition | null
  ephemeralSecrets: StringMap | null
  secretSources: SecretSource[]
}

/** At the command router, of V1 sandboxes. */
interface CreateMessage {
  taskId: string
  containerName: string
  imageId: string
  args: string[]
  env: Record<string, string>
  workdir: string
  secretIds: string[]
  secretSources: SecretSource[]
  volumeMounts: VolumeMountMessage[]
  networkAccess: SandboxDefinition['networkAccess']
  ptyInfo: PtyInfo | null
  memoryReserveConsumeMib?: number
}

interface NameMessage { taskId: string, containerName: string, includeTerminated: boolean }
interface IdMessage { taskId: string, containerId: string }

type Parts = Pick<CreateParts, 'registry' | 'images' | 'volumes' | 'start'> & { secrets: Secrets, idempotency: Idempotency }

/** Creation of sidecars of V2 sandboxes. */
export function sidecarCreation (parts: Parts): Handlers {
  const { registry, secrets, idempotency } = parts
  return {
    unary: {
      SandboxContainerCreateV2: (request: CreateV2Message, { metadata }) => idempotency.once(metadata, async () => {
        const { sandboxId, containerName: name, definition } = request
        if (!definition) throw invalid('definition is missing')
        refuseUnsupported(definition)
        if (definition.includeOidcIdentityToken) throw unimplemented('identity tokens of sidecars')
        if (definition.resources?.memoryMb) throw unimplemented('a reserve of memory for sidecars')
        const { imageId, entrypointArgs: command, workdir, volumeMounts, networkAccess, ptyInfo } = definition
        const given = {
          ...secrets.values(definition.secretIds),
          ...variables(definition.environmentVariables),
          ...variables(request.ephemeralSecrets),
          ...secrets.resolve(request.secretSources)
        }
        const wanted = { name, imageId, command, workdir, variables: given, volumeMounts, networkAccess, ptyInfo }
        return await create(parts, running(registry.byId(sandboxId, 'V2')), wanted)
      })
    }
  }
}

/** Creation of sidecars of V1 sandboxes, and what can be done with all of them. */
export function sidecarHandlers (parts: Parts): Handlers {
  const { registry, secrets } = parts
  const sandboxOf = (taskId: string, context: Context) => sandboxOfTask(registry, taskId, context)
  return {
    unary: {
      async TaskContainerCreate (request: CreateMessage, context) {
        if (request.memoryReserveConsumeMib !== undefined) throw unimplemented('a reserve of memory for sidecars')
        const { containerName: name, imageId, args: command, volumeMounts, networkAccess, ptyInfo } = request
        const given = {
          ...secrets.values(request.secretIds), ...request.env, ...secrets.resolve(request.secretSources)
        }
        const workdir = request.workdir === '' ? undefined : request.workdir
        const wanted = { name, imageId, command, workdir, variables: given, volumeMounts, networkAccess, ptyInfo }
        return await create(parts, running(sandboxOf(request.taskId, context)), wanted)
      },
      TaskContainerGet ({ taskId, containerName, includeTerminated }: NameMessage, context) {
        const named = sandboxOf(taskId, context).sidecars.filter(({ name }) => name === containerName)
        const found = named.find((sidecar) => sidecar.running) ?? (includeTerminated ? named.at(-1) : undefined)
        if (!found) throw notFound(`Sidecar container '${containerName}' not found`)
        return { container: infoOf(found) }
      },
      TaskContainerList ({ taskId, includeTerminated }: NameMessage, context) {
        const { sidecars } = sandboxOf(taskId, context)
        return { containers: sidecars.filter((sidecar) => sidecar.running || includeTerminated).map(infoOf) }
      },
      TaskContainerTerminate ({ taskId, containerId }: IdMessage, context) {
        // As with sandboxes, the answer does not wait for the end. The container layer logs failures.
        sandboxOf(taskId, context).sidecar(containerId).stop().catch(() => {})
        return {}
      },
      async TaskContainerWait ({ taskId, containerId, timeout }: IdMessage & { timeout: number }, context) {
        const sidecar = sandboxOf(taskId, context).sidecar(containerId)
        if (sidecar.running && timeout > 0) await settledWithin(sidecar.ended, timeout * 1000, context.signal)
        return resultOf(sidecar)
      }
    }
  }
}

function running (sandbox: Sandbox): Sandbox {
  if (sandbox.running) return sandbox
  throw notFound(`Sandbox ${sandbox.id} has already finished`)
}

async function create (parts: Parts, sandbox: Sandbox, request: SidecarRequest): Promise<object> {
  const { id, name } = await sandbox.lifetime.track(createSidecar(parts, sandbox, request))
  return { containerId: id, containerName: name }
}

const resultOf = ({ result }: Sidecar): object => result === undefined ? {} : { result }

function infoOf (sidecar: Sidecar): object {
  return { containerId: sidecar.id, containerName: sidecar.name, ...resultOf(sidecar) }
}
