import { defaultPath } from '../container/host.js'
import {
  type Container, ContainerError, type ContainerSpec, isRoot, type Network, type VolumeMount
} from '../container/types.js'
import { environmentOf } from '../control/environments.js'
import type { Bearer } from '../control/identity.js'
import { objectId, ulidId } from '../control/ids.js'
import type { ImageBuilds } from '../images/builds.js'
import type { BuiltImage } from '../images/store.js'
import type { SandboxCreateMessage, SandboxDefinition, VolumeMountMessage } from '../proto/messages.js'
import { type Secrets, variables } from '../control/secrets.js'
import type { State } from '../control/state.js'
import { failedPrecondition, invalid, notFound, StatusError, unimplemented } from '../control/status.js'
import type { Strictness } from '../strict.js'
import type { Certificate } from '../tunnels/certificate.js'
import { inboundCheck } from '../tunnels/inbound.js'
import { SandboxPorts } from '../tunnels/ports.js'
import type { VolumeCatalog } from '../volumes/catalog.js'
import { checkDefinition, checkTags, hasOutboundList, isBlocked, mountPathOf } from './definition.js'
import { ptyOf } from './exec.js'
import { limitsOf } from './limits.js'
import { placementWarnings } from './placement.js'
import { Readiness } from './readiness.js'
import type { SandboxRegistry } from './registry.js'
import { type Family, Sandbox, type SandboxInfo } from './sandbox.js'

export interface CreateParts {
  state: State
  registry: SandboxRegistry
  images: ImageBuilds
  volumes: VolumeCatalog
  secrets: Secrets
  /** Starts a container. */
  start: (spec: ContainerSpec) => Promise<Container>
  strictness: Strictness
  /** Whether limits of memory, or of CPUs, hold on this machine. */
  enforces: (limit: 'memory' | 'cpu') => Promise<boolean>
  /** Why sandboxes can't have networks of their own here; undefined where they have. */
  withoutNetworks: () => Promise<string | undefined>
  /** Signs an identity token. */
  identityToken: (bearer: Bearer) => Promise<string>
  /** Of encrypted tunnels. */
  certificate: () => Promise<Certificate>
  /** What is known of the user of a connect token; undefined when it is not for this port of this sandbox. */
  userOf: (token: string, sandboxId: string, port: number) => Promise<{ metadata: string } | undefined>
}

/**
 * Checks a request, reserves its name, and starts the container; resolves when it runs. CPU and memory requests are
 * accepted: a sandbox gets what the machine has. Limits hold where the machine can enforce them.
 * @param warn is told what has no effect here
 * @throws {StatusError} INVALID_ARGUMENT, NOT_FOUND, ALREADY_EXISTS, FAILED_PRECONDITION or UNIMPLEMENTED
 */
export async function createSandbox (
  parts: CreateParts, request: SandboxCreateMessage, family: Family, warn: (text: string) => void
): Promise<Sandbox> {
  const { registry, state, strictness } = parts
  const isTold = strictness['told-ends'] !== undefined
  const { definition } = request
  if (!definition) throw invalid('definition is missing')
  checkDefinition(definition)
  const tags = checkTags(request.tags)
  if (hasOutboundList(definition)) {
    const reason = await parts.withoutNetworks()
    if (reason !== undefined) throw unimplemented(`outbound allowlists, without networks of their own: ${reason}`)
  }
  const app = state.records.apps.find((app) => app.id === request.appId)
  if (!app) throw notFound(`App with ID ${request.appId} not found`)

  const info: SandboxInfo = {
    id: family === 'V2' ? ulidId('sb') : objectId('sb'),
    taskId: family === 'V2' ? ulidId('ta') : objectId('ta'),
    family,
    appId: app.id,
    appName: app.name,
    environment: environmentOf(state, app.environment),
    definition,
    image: await parts.images.built(definition.imageId),
    createdAt: registry.nextCreatedAt()
  }
  const spec = containerSpec(parts, request, info)
  if (definition.includeOidcIdentityToken) spec.env['MODAL_IDENTITY_TOKEN'] = await parts.identityToken(bearerOf(info))
  const { limits, warnings } = await limitsOf(definition, parts.enforces)
  spec.limits = limits
  // No await between this check and the registration, which takes the name.
  if (definition.name) registry.checkNameFree(app.id, definition.name)
  const opening = {
    start: () => parts.start(spec),
    open: (container: Container) => openPorts(parts, sandbox, container)
  }
  const sandbox: Sandbox = new Sandbox(info, tags, opening, isTold ? 0 : undefined)
  registry.add(sandbox)
  try {
    const container = await sandbox.started
    for (const text of [...placementWarnings(definition), ...warnings]) warn(text)
    await sandbox.ports
    const { readinessProbe } = definition
    // Fails at once where it can't be known.
    if (readinessProbe?.tcpPort !== undefined) await container.listener(readinessProbe.tcpPort)
    if (readinessProbe) sandbox.readiness = new Readiness(container, readinessProbe)
    return sandbox
  } catch (error) {
    const hasStarted = await sandbox.started.then(() => true, () => false)
    if (isTold && !hasStarted && !isUnsupported(error)) {
      sandbox.failStart(error as Error)
      return sandbox
    }
    sandbox.discard().catch(() => {})
    registry.remove(sandbox)
    if (error instanceof StatusError || isUnsupported(error)) throw error
    throw failedPrecondition(`The local emulator could not start the sandbox: ${(error as Error).message}`, error)
  }
}

export const isUnsupported = (error: unknown) => error instanceof ContainerError && error.reason === 'unsupported'

function bearerOf ({ id: sandboxId, taskId, appId, appName, environment, definition }: SandboxInfo): Bearer {
  return { sandboxId, taskId, appId, appName, environment, timeoutSecs: definition.timeoutSecs }
}

async function openPorts (
  { certificate, userOf }: CreateParts, sandbox: Sandbox, container: Container
): Promise<SandboxPorts> {
  const { inboundCidrAllowlist, openPorts } = sandbox.info.definition
  const ports = new SandboxPorts({
    certificate,
    connect: (port) => container.connect(port),
    allows: inboundCheck(inboundCidrAllowlist),
    track: (activity) => { sandbox.lifetime.track(activity).catch(() => {}) },
    userOf: (token, port) => userOf(token, sandbox.id, port)
  })
  container.exited.then(() => { ports.close() }, () => {})
  await ports.open(openPorts?.ports ?? [])
  return ports
}

function containerSpec (parts: CreateParts, request: SandboxCreateMessage, info: SandboxInfo): ContainerSpec {
  const { definition, image } = info
  return {
    id: info.id,
    rootfs: image.rootfs,
    volumes: volumeMounts(parts.volumes, definition.volumeMounts),
    env: { ...systemVariables(info, image), ...image.env, ...givenVariables(parts.secrets, request, definition) },
    workdir: definition.workdir ?? image.workdir ?? '/',
    ...(image.entrypoint !== undefined && { entrypoint: image.entrypoint }),
    command: definition.entrypointArgs,
    ...image.user !== undefined && { user: image.user },
    network: networkOf(definition),
    ...ptyOf(definition.ptyInfo)
  }
}

function networkOf (definition: SandboxDefinition): Network {
  if (isBlocked(definition)) return 'none'
  return hasOutboundList(definition) ? { cidrs: definition.networkAccess?.allowedCidrs ?? [] } : 'open'
}

/** @throws {StatusError} NOT_FOUND */
export function volumeMounts (volumes: VolumeCatalog, mounts: VolumeMountMessage[]): VolumeMount[] {
  return mounts.map(({ volumeId, mountPath, readOnly, subPath }) => ({
    volumeId: volumes.byId(volumeId).id,
    path: mountPathOf(mountPath),
    readOnly,
    ...(subPath && { subPath })
  }))
}

export function systemVariables (info: SandboxInfo, image: BuiltImage): Record<string, string> {
  return {
    PATH: image.env['PATH'] ?? defaultPath,
    // Another user's is in the image.
    ...isRoot(image.user) && { HOME: '/root' },
    MODAL_SANDBOX_ID: info.id,
    MODAL_TASK_ID: info.taskId,
    MODAL_ENVIRONMENT: info.environment,
    MODAL_IMAGE_ID: info.definition.imageId,
    MODAL_IS_REMOTE: '1'
  }
}

/** Secrets in their order, then plain variables; later ones win. */
function givenVariables (secrets: Secrets, request: SandboxCreateMessage, definition: SandboxDefinition) {
  return {
    ...secrets.values(definition.secretIds),
    ...variables(definition.environmentVariables),
    ...variables(request.ephemeralSecrets),
    ...secrets.resolve(request.secretSources ?? [])
  }
}
