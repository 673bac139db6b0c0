// What routes of a kind may fail with, besides what any may; each adds in its schema what is its own.

const modal = ['MODAL_ERROR', 'MODAL_UNAUTHORIZED', 'MODAL_UNAVAILABLE', 'MODAL_TIMEOUT'] as const

/** Of public routes that look at who asks: Modal knows which sessions of browsers have ended. */
export const forEverybody = ['IDENTITY_UNAVAILABLE', ...modal] as const

/** Of routes for accounts. */
export const forAccount = [...forEverybody, 'UNAUTHENTICATED', 'FORBIDDEN'] as const

/** Of routes that look at a sandbox, or run something in it. */
export const inSandbox = [...forAccount, 'SANDBOX_NOT_FOUND', 'SANDBOX_ENDED', 'COMMAND_FAILED', 'NO_SPACE'] as const

/** Of routes about a run. */
export const ofRun = [...inSandbox, 'RUN_NOT_FOUND', 'RUN_FAILED', 'RUN_NOT_ENDED'] as const

/** Of routes that may copy between a workspace and S3. */
export const ofSync = [
  ...inSandbox, 'NO_STORAGE', 'SECRET_NOT_FOUND', 'SYNC_ACTIVE', 'SYNC_REFUSED', 'SYNC_INCOMPLETE', 'WORKSPACE_LOST',
  'S3_REFUSED', 'S3_UNAVAILABLE'
] as const

/** Of routes about files. */
export const ofFiles = [...inSandbox, 'PATH_FORBIDDEN', 'FILE_NOT_FOUND', 'FILE_FAILED'] as const

/** Of routes about a git repository. */
export const ofRepository = [...inSandbox, 'NO_REPOSITORY', 'GIT_FAILED'] as const
