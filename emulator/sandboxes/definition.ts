import { posix } from 'node:path'
import { checkName } from '../control/environments.js'
import { networkAccess, type SandboxDefinition, type SandboxTag, type VolumeMountMessage } from '../proto/messages.js'
import { checkVariables, variables } from '../control/secrets.js'
import { invalid, unimplemented } from '../control/status.js'
import { parseCidr } from '../tunnels/inbound.js'
import { checkPlacement } from './placement.js'

const maxLifetimeSeconds = 24 * 3600
const maxTagLength = 256
const reservedPaths = ['/proc', '/sys', '/dev', '/__modal']

/**
 * Refuses what is invalid (INVALID_ARGUMENT) and what the emulator can't do honestly (UNIMPLEMENTED).
 */
export function checkDefinition (definition: SandboxDefinition): void {
  definition.networkAccess?.allowedCidrs.forEach(parseCidr)
  refuseUnsupported(definition)
  const { timeoutSecs, idleTimeoutSecs, workdir, name } = definition
  if (timeoutSecs < 1 || timeoutSecs > maxLifetimeSeconds) {
    throw invalid(`timeout_secs must be between 1 and ${maxLifetimeSeconds}, got ${timeoutSecs}`)
  }
  if (idleTimeoutSecs === 0) throw invalid('idle_timeout_secs must be positive')
  if (workdir !== undefined && !workdir.startsWith('/')) throw invalid(`workdir must be an absolute path, got: ${workdir}`)
  if (name) checkName(name, 'Sandbox')
  checkVariables(variables(definition.environmentVariables))
  checkResources(definition)
  checkPlacement(definition)
  checkPorts(definition)
  checkProbe(definition)
  checkVolumeMounts(definition.volumeMounts)
}

function checkResources ({ resources }: SandboxDefinition): void {
  const { milliCpu = 0, milliCpuMax = 0, memoryMb = 0, memoryMbMax = 0 } = resources ?? {}
  if (milliCpuMax > 0 && milliCpuMax < milliCpu) throw invalid('milli_cpu_max must not be less than milli_cpu')
  if (memoryMbMax > 0 && memoryMbMax < memoryMb) throw invalid('memory_mb_max must not be less than memory_mb')
}

export const isBlocked = ({ blockNetwork, networkAccess: access }: SandboxDefinition): boolean =>
  blockNetwork || access?.networkAccessType === networkAccess.blocked

/** Whether it reaches the addresses of a list; what blocks the network wins over one. */
export const hasOutboundList = (definition: SandboxDefinition): boolean =>
  !isBlocked(definition) && definition.networkAccess?.networkAccessType === networkAccess.allowlist

/** @throws {StatusError} INVALID_ARGUMENT for an empty, overlong or repeated tag. */
export function checkTags (tags: SandboxTag[]): SandboxTag[] {
  for (const { tagName, tagValue } of tags) {
    if (tagName === '' || tagValue === '') throw invalid('Tag names and values must not be empty')
    if (tagName.length > maxTagLength || tagValue.length > maxTagLength) {
      throw invalid(`Tag names and values may have at most ${maxTagLength} characters: '${tagName.slice(0, 40)}'`)
    }
  }
  if (new Set(tags.map((tag) => tag.tagName)).size < tags.length) throw invalid('Tag names must be unique')
  return tags
}

/** Whether a path belongs to what every container has of its own. */
export const isReserved = (path: string): boolean =>
  reservedPaths.some((reserved) => path === reserved || path.startsWith(`${reserved}/`))

/** The path of a mount, normalized: without `..`, `.` and empty names. */
export const mountPathOf = (path: string): string => posix.normalize(path).replace(/(.)\/$/, '$1')

/** @throws {StatusError} INVALID_ARGUMENT */
export function checkVolumeMounts (volumeMounts: VolumeMountMessage[]): void {
  const paths = new Set<string>()
  const volumes = new Set<string>()
  for (const { mountPath, subPath, volumeId } of volumeMounts) {
    const path = mountPathOf(mountPath)
    if (!path.startsWith('/') || path === '/') throw invalid(`A volume needs an absolute mount path below /, got: ${mountPath}`)
    if (isReserved(path)) {
      throw invalid(`A volume can't be mounted at ${path}`)
    }
    if (paths.has(path)) throw invalid(`Two volumes are mounted at ${path}`)
    if (volumes.has(volumeId)) throw invalid(`Volume ${volumeId} is mounted at two paths`)
    if (subPath?.split('/').includes('..')) throw invalid(`A volume's sub path must not contain '..': ${subPath}`)
    paths.add(path)
    volumes.add(volumeId)
  }
}

function checkPorts (definition: SandboxDefinition): void {
  const { openPorts, inboundCidrAllowlist } = definition
  const ports = (openPorts?.ports ?? []).map(({ port }) => port)
  const wrong = ports.find((port) => port < 1 || port > 65_535)
  if (wrong !== undefined) throw invalid(`open_ports must be between 1 and 65535, got ${wrong}`)
  if (new Set(ports).size < ports.length) throw invalid('open_ports must not name a port twice')
  inboundCidrAllowlist.forEach(parseCidr)
  if (isBlocked(definition) && ports.length + inboundCidrAllowlist.length > 0) {
    throw invalid('open_ports and inbound_cidr_allowlist cannot be used when the network is blocked')
  }
}

function checkProbe ({ readinessProbe: probe }: SandboxDefinition): void {
  if (!probe) return
  const { tcpPort, execCommand, intervalMs } = probe
  if (tcpPort === undefined && !execCommand?.argv.length) throw invalid('readiness_probe needs a tcp_port or an exec_command')
  if (tcpPort !== undefined && (tcpPort < 1 || tcpPort > 65_535)) throw invalid(`tcp_port must be between 1 and 65535, got ${tcpPort}`)
  if (intervalMs === 0) throw invalid('interval_ms must be positive')
}

/** @throws {StatusError} UNIMPLEMENTED */
export function refuseUnsupported (definition: SandboxDefinition): void {
  const { resources, networkAccess: network } = definition
  const reasons: Array<[unknown, string]> = [
    [resources?.gpuConfig?.count || resources?.gpuConfig?.gpuType || resources?.gpuConfig?.type, 'it has no GPUs'],
    [resources?.rdma, 'it has no RDMA'],
    [definition.cloudBucketMounts.length || definition.s3Mounts.length, 'cloud bucket mounts: leave out the mount path'],
    [definition.nfsMounts.length, 'network file systems'],
    [definition.mountIds.length, 'mounts of local files'],
    [network?.allowedDomains.length, 'outbound allowlists of domains, which would need a look into TLS; those of addresses work'],
    [definition.experimentalOutboundPolicy ?? definition.outboundPolicy, 'outbound policies'],
    [definition.proxyId, 'proxies'],
    [definition.customDomain, 'custom domains'],
    [definition.i6pnEnabled, 'private networking between sandboxes (i6pn)'],
    [definition.includeX509Svid, 'X.509 identities'],
    [definition.enableSnapshot, 'memory snapshots'],
    [definition.runtime, 'the choice of a runtime: sandboxes are Linux namespaces'],
    [experimentalOptions(definition), `experimental options (${experimentalOptions(definition)})`]
  ]
  const reason = reasons.find(([found]) => found)
  if (reason) throw unimplemented(reason[1])
}

function experimentalOptions ({ experimentalOptions, experimentalOptionsV2 }: SandboxDefinition): string {
  const isSet = ([, value]: [string, boolean | string]) => value !== false && value !== 'false'
  return Object.entries({ ...experimentalOptions, ...experimentalOptionsV2 }).filter(isSet).map(([name]) => name).join(', ')
}
