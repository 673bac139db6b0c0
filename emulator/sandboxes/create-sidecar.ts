import type { Container, ContainerSpec } from '../container/types.js'
import { checkName } from '../control/environments.js'
import { ulidId } from '../control/ids.js'
import { alreadyExists, failedPrecondition, invalid, StatusError, unimplemented } from '../control/status.js'
import { networkAccess, type PtyInfo, type SandboxDefinition, type VolumeMountMessage } from '../proto/messages.js'
import { type CreateParts, isUnsupported, systemVariables, volumeMounts } from './create.js'
import { checkVolumeMounts } from './definition.js'
import { ptyOf } from './exec.js'
import type { Sandbox } from './sandbox.js'
import { Sidecar } from './sidecar.js'

export interface SidecarRequest {
  name: string
  imageId: string
  command: string[]
  workdir: string | undefined
  variables: Record<string, string>
  volumeMounts: VolumeMountMessage[]
  networkAccess: SandboxDefinition['networkAccess']
  ptyInfo: PtyInfo | null
}

/** The SDKs' name for a sandbox's own container. */
const mainName = 'main'

const unshared = 'sidecars of a sandbox whose network they could not share: it is blocked, or, unless the emulator runs as root, its own (see EMULATOR_NETWORK)'

type Parts = Pick<CreateParts, 'images' | 'volumes' | 'start'>

/**
 * Starts another container of a sandbox; resolves when it runs.
 * @throws {StatusError} INVALID_ARGUMENT, NOT_FOUND, ALREADY_EXISTS, FAILED_PRECONDITION or UNIMPLEMENTED
 */
export async function createSidecar (parts: Parts, sandbox: Sandbox, request: SidecarRequest): Promise<Sidecar> {
  checkRequest(request)
  const { name } = request
  const { network } = await sandbox.started
  if (network === undefined) throw unimplemented(unshared)
  const image = await parts.images.built(request.imageId)
  const id = ulidId(`${sandbox.id}-ctr`)
  const { info } = sandbox
  const env = systemVariables({ ...info, definition: { ...info.definition, imageId: request.imageId } }, image)
  const spec: ContainerSpec = {
    id,
    rootfs: image.rootfs,
    volumes: volumeMounts(parts.volumes, request.volumeMounts),
    env: { ...env, ...image.env, ...request.variables },
    workdir: request.workdir ?? image.workdir ?? '/',
    ...(image.entrypoint !== undefined && { entrypoint: image.entrypoint }),
    command: request.command,
    ...image.user !== undefined && { user: image.user },
    network,
    ...ptyOf(request.ptyInfo)
  }
  // No await between this check and the addition, which takes the name.
  if (sandbox.sidecars.some((other) => other.name === name && other.running)) {
    throw alreadyExists(`Sidecar container '${name}' already exists`)
  }
  const sidecar = new Sidecar({ id, name, image, volumeMounts: request.volumeMounts }, () => parts.start(spec))
  sandbox.addSidecar(sidecar)
  await started(sandbox, sidecar)
  return sidecar
}

async function started (sandbox: Sandbox, sidecar: Sidecar): Promise<Container> {
  try {
    return await sidecar.started
  } catch (error) {
    sandbox.removeSidecar(sidecar)
    if (error instanceof StatusError || isUnsupported(error)) throw error
    throw failedPrecondition(`The local emulator could not start the sidecar: ${(error as Error).message}`, error)
  }
}

function checkRequest (request: SidecarRequest): void {
  const { name, workdir, volumeMounts, networkAccess: network } = request
  if (checkName(name, 'Sidecar') === mainName) throw invalid(`The name '${mainName}' is that of the sandbox's own container`)
  if (workdir !== undefined && !workdir.startsWith('/')) throw invalid(`workdir must be an absolute path, got: ${workdir}`)
  checkVolumeMounts(volumeMounts)
  if (network !== null && network.networkAccessType > networkAccess.open) {
    throw unimplemented('sidecars with an outbound allowlist')
  }
}
