import type { ErrorCode } from '../errors.js'

/** What routes of a kind may fail with; each names in its schema what is its own. */

const modal = ['MODAL_ERROR', 'MODAL_UNAUTHORIZED', 'MODAL_UNAVAILABLE', 'MODAL_TIMEOUT'] as const

/** Of routes for accounts. A browser's session is looked up at Modal. */
export const forAccount = ['UNAUTHENTICATED', 'FORBIDDEN', 'IDENTITY_UNAVAILABLE', ...modal] as const

/** Of routes about a sandbox, running or not. */
export const ofSandbox = [...forAccount, 'SANDBOX_NOT_FOUND'] as const

/** Of routes that run something in a sandbox. */
export const inSandbox = [...ofSandbox, 'SANDBOX_ENDED', 'COMMAND_FAILED', 'NO_SPACE'] as const

/** Of routes about a run. */
export const ofRun = [...inSandbox, 'RUN_NOT_FOUND', 'RUN_FAILED', 'RUN_NOT_ENDED'] as const

/** Of routes that copy between a workspace and S3. */
export const ofSync = [
  ...inSandbox, 'NO_STORAGE', 'SECRET_NOT_FOUND', 'SYNC_ACTIVE', 'SYNC_REFUSED', 'SYNC_INCOMPLETE', 'WORKSPACE_LOST',
  'S3_REFUSED', 'S3_UNAVAILABLE'
] as const

/** Of routes about files. */
export const ofFiles = [...inSandbox, 'PATH_FORBIDDEN', 'FILE_NOT_FOUND', 'FILE_FAILED'] as const

/** Of routes about a git repository. */
export const ofRepository = [...inSandbox, 'NO_REPOSITORY', 'GIT_FAILED'] as const

export const forEverybody: readonly ErrorCode[] = [...modal, 'IDENTITY_UNAVAILABLE']
