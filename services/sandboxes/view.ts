import type { SandboxView } from '../../schemas/sandbox.js'
import type { OwnedSandbox } from './owned.js'

/** Exit codes of an expected end: done, lifetime over (124), told to (137, 143). */
const expectedEnds = [0, 124, 137, 143]

/** What a sandbox' exit code (null while it runs) says about it. The SDK tells no more than that number. */
export function statusOf (exitCode: number | null): SandboxView['status'] {
  if (exitCode === null) return 'running'
  return expectedEnds.includes(exitCode) ? 'terminated' : 'error'
}

/** What clients see of a sandbox. */
export function viewOf (owned: OwnedSandbox, exitCode: number | null): SandboxView {
  const { id, createdAt, expiresAt, name, image, volume, mountPath, workdir, tags } = owned
  return {
    id,
    status: statusOf(exitCode),
    createdAt,
    expiresAt,
    name: name ?? null,
    image,
    volume: volume === undefined ? null : { name: volume, mountPath: mountPath! },
    workdir,
    tags,
    exitCode
  }
}
