import type { ComputePrices } from '../../schemas/compute-prices.js'
import type { SandboxView } from '../../schemas/sandbox.js'
import type { Ending } from '../modal/ending.js'
import type { OwnedSandbox } from './owned.js'
import type { StorageRecord } from './tags.js'

const expectedEnds = ['exited', 'terminated', 'timeout', 'idle_timeout']
/** Exit codes of an expected end, where no reason is known: done, lifetime over (124), terminated (137, 143). */
const expectedCodes = [0, 124, 137, 143]

/** The status that a sandbox's end (null while it runs) stands for. */
export function statusOf (ending: Ending | null): SandboxView['status'] {
  if (ending === null) return 'running'
  const { reason, exitCode } = ending
  if (reason === null && exitCode === null) return 'terminated'
  const isExpected = reason === null ? expectedCodes.includes(exitCode!) : expectedEnds.includes(reason)
  return isExpected ? 'terminated' : 'error'
}

/** What clients see of a sandbox. @param prices without them, nothing is said of what it costs. */
export function viewOf (owned: OwnedSandbox, ending: Ending | null, prices?: ComputePrices): SandboxView {
  const { id, createdAt, expiresAt, name, image, workdir, tags, s3 } = owned
  return {
    id,
    status: statusOf(ending),
    reason: ending?.reason ?? null,
    createdAt,
    expiresAt,
    name: name ?? null,
    image,
    volume: volumeView(owned),
    s3: s3 === undefined ? null : storageView(s3),
    workdir,
    resources: resourcesView(owned, prices),
    tags,
    exitCode: ending?.exitCode ?? null
  }
}

function resourcesView ({ resources }: OwnedSandbox, prices: ComputePrices | undefined): SandboxView['resources'] {
  if (resources === undefined) return null
  const { cpu, memoryMiB, gpu = null } = resources
  // The prices of GPUs are not known here.
  const isPriced = prices !== undefined && gpu === null
  const usdPerHour = isPriced ? cpu * prices.cpuCoreHour + memoryMiB / 1024 * prices.memoryGiBHour : null
  return { cpu, memoryMiB, gpu, usdPerHour }
}

function volumeView ({ volume, mountPath, mount = {} }: OwnedSandbox): SandboxView['volume'] {
  if (volume === undefined) return null
  const { readOnly = false, subPath = null, exclusive = false } = mount
  return { name: volume, mountPath: mountPath!, readOnly, subPath, exclusive }
}

function storageView ({ bucket, prefix, secretName, mountPath, ...flags }: StorageRecord): NonNullable<SandboxView['s3']> {
  const { readOnly, initialize, syncOnTerminate, syncAfterRun, versioned, delete: isDeleting = false } = flags
  return {
    bucket,
    keyPrefix: prefix,
    secretName: secretName ?? null,
    mountPath: mountPath ?? null,
    readOnly,
    initialize,
    syncOnTerminate,
    syncAfterRun,
    versioned,
    delete: isDeleting
  }
}
