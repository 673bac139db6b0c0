import type { SandboxView } from '../../schemas/sandbox.js'
import type { OwnedSandbox } from './owned.js'
import type { StorageRecord } from './tags.js'

/** Exit codes of an expected end: done, lifetime over (124), terminated (137, 143). */
const expectedEnds = [0, 124, 137, 143]

/** The status that a sandbox's exit code (null while it runs) stands for. The SDK tells no more than that number. */
export function statusOf (exitCode: number | null): SandboxView['status'] {
  if (exitCode === null) return 'running'
  return expectedEnds.includes(exitCode) ? 'terminated' : 'error'
}

/** What clients see of a sandbox. */
export function viewOf (owned: OwnedSandbox, exitCode: number | null): SandboxView {
  const { id, createdAt, expiresAt, name, image, workdir, tags, s3 } = owned
  return {
    id,
    status: statusOf(exitCode),
    createdAt,
    expiresAt,
    name: name ?? null,
    image,
    volume: volumeView(owned),
    s3: s3 === undefined ? null : storageView(s3),
    workdir,
    tags,
    exitCode
  }
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
