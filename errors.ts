/**
 * Every error a client can see: its status, a message for people, and a hint what to do about it.
 * Codes are part of the API; messages and hints may change.
 */
const table = {
  BAD_REQUEST: [400, 'The request is not valid.', 'Correct the field named in the message.'],
  UNAUTHENTICATED: [401, 'You are not signed in.', 'Send an API key or a token: Authorization: Bearer <key>.'],
  PATH_FORBIDDEN: [403, 'This path is outside the workspace.', 'Use a path in the workdir or on the volume.'],
  FORBIDDEN: [403, 'Your account is not allowed to do this.', 'Ask the operator to change what your account may use.'],
  NOT_FOUND: [404, 'There is nothing at this address.', 'See the list of routes at /docs.'],
  SANDBOX_NOT_FOUND: [404, 'There is no such sandbox.', 'List your sandboxes, or create a new one.'],
  RUN_NOT_FOUND: [404, 'There is no such run.', 'List the runs of the sandbox.'],
  CREATION_NOT_FOUND: [404, 'There is no such creation.', 'List your sandboxes; creations are known for a day.'],
  PERMISSION_NOT_FOUND: [404, 'Claude asks nothing of that id in this run.', 'See pendingPermissions of the run.'],
  TERMINAL_NOT_FOUND: [404, 'There is no such terminal.', 'Open a new one; a shell ends with the replica that opened it.'],
  SESSION_NOT_FOUND: [404, 'There is no such conversation.', 'Omit sessionId to start a new one.'],
  FILE_NOT_FOUND: [404, 'There is no such file.', 'List the directory to see what it contains.'],
  SECRET_NOT_FOUND: [404, 'A named secret does not exist.', 'Create the secret in Modal, or correct its name.'],
  VOLUME_NOT_FOUND: [404, 'There is no such volume.', 'List your volumes.'],
  VERSION_NOT_FOUND: [404, 'There is no such version of this workspace.', 'List the versions with GET .../sync.'],
  REQUEST_TIMEOUT: [408, 'The request took too long to arrive.', 'Check your connection, then send it again.'],
  SANDBOX_NAME_TAKEN: [409, 'A running sandbox already has this name.', 'Use it, end it, or choose another name.'],
  IDEMPOTENCY_KEY_REUSED: [409, 'This Idempotency-Key was used for a different request.', 'Use a new key.'],
  SANDBOX_ENDED: [409, 'The sandbox has ended.', 'Create a new one; files on a volume are still there.'],
  SANDBOX_EXPIRING: [409, 'The sandbox is about to end.', 'Continue in a new one on the same volume.'],
  PERMISSION_RESOLVED: [409, 'This request has already been answered.', 'No action is needed.'],
  RUN_ACTIVE: [409, 'A run is active in this sandbox.', 'Wait for it to end, or cancel it.'],
  NETWORK_BLOCKED: [400, 'Claude cannot reach its model: the sandbox was created with network.block.', 'Create one with network.domainAllowlist instead; the model\'s host is added to it.'],
  NO_CLAUDE: [409, 'The image of the sandbox has no Claude.',
    'Create one with an image that has claude on its PATH, or without image.claude false, which has it installed.'],
  NO_VOLUME: [409, 'The sandbox has no volume.', 'Name a volume when you create it.'],
  SETTINGS_UNREADABLE: [409, 'The workspace\'s Claude settings can\'t be read.',
    'Correct or remove .claude-sandbox/settings.json on the volume.'],
  VOLUME_IN_USE: [409, 'Another sandbox has the volume mounted.', 'End the sandboxes that are named in the answer first.'],
  VOLUME_BUSY: [409, 'Files on the volume are open.', 'End the commands that use it, then reload it again.'],
  VOLUME_VERSION: [409, 'The volume exists with another version.', 'Omit the version, or choose another name.'],
  NO_REPOSITORY: [409, 'There is no git repository in the workdir.', 'Run git init there, or clone a repository into it.'],
  NOTHING_STAGED: [409, 'Nothing is staged, so there is nothing to commit.', 'Stage changes first.'],
  NO_STORAGE: [409, 'The sandbox has no S3 storage.', 'Name a bucket when you create it.'],
  SYNC_ACTIVE: [409, 'A sync of this workspace is running.', 'Wait for it; a crashed one is released within a minute.'],
  SYNC_REFUSED: [409, 'The sync was refused: it could delete needed files.', 'Check the workspace, or omit delete.'],
  FILE_CHANGED: [412, 'The file has changed since it was read.', 'Read it again, then repeat your change.'],
  PAYLOAD_TOO_LARGE: [413, 'The request is too large.', 'A prompt may have 1 MB; put larger content in files.'],
  UNSUPPORTED_MEDIA_TYPE: [415, 'The body is not JSON.', 'Send content-type: application/json.'],
  IMAGE_BUILD_FAILED: [422, 'The image could not be built.', 'Correct the image or its commands.'],
  CLONE_FAILED: [422, 'The repository could not be cloned.', 'Check its URL, its branch and the token in its secret.'],
  NOT_SUPPORTED: [422, 'This is not supported where your sandboxes run.', 'Omit the option named in the message.'],
  INVALID_SANDBOX: [422, 'Modal rejected this configuration.', 'Correct the option named in the message.'],
  COMMAND_FAILED: [422, 'The command could not be started.', 'Check that the program and the workdir exist.'],
  FILE_FAILED: [422, 'The file could not be read or written.', 'Check its permissions and the free disk space.'],
  GIT_FAILED: [422, 'Git could not do this.', 'Correct what the message says, in a terminal if need be.'],
  UPGRADE_REQUIRED: [426, 'This address speaks WebSocket only.', 'Connect to it with a WebSocket client.'],
  RATE_LIMITED: [429, 'Too many requests.', 'Wait for the number of seconds in the retry-after header.'],
  LIMIT_REACHED: [429, 'Your account has reached a limit.', 'End something first, or ask for a higher limit.'],
  HEADERS_TOO_LARGE: [431, 'The request headers are too large.', 'Send at most 16 KiB of headers.'],
  CLIENT_CLOSED: [499, 'The client closed the connection.', 'No action is needed.'],
  INTERNAL: [500, 'Something went wrong on our side.', 'Try again; if it persists, report the request id.'],
  MODAL_ERROR: [502, 'Modal could not handle the request.', 'Try again; if it persists, report the request id.'],
  MODAL_UNAUTHORIZED: [502, 'Modal rejected the credentials of this service.',
    'The operator has to check MODAL_TOKEN_ID and MODAL_TOKEN_SECRET.'],
  CLAUDE_FAILED: [502, 'Claude could not be started.', 'Check the image and the model key, then try again.'],
  RUN_FAILED: [502, 'A command of the run failed in the sandbox.', 'Try again; if it persists, cancel the run.'],
  RUN_NOT_ENDED: [502, 'The run could not be ended.', 'End the sandbox: that ends the run for certain.'],
  WORKSPACE_LOST: [502, 'The workspace cannot be reached.', 'Check that the sandbox runs and its directory exists.'],
  S3_REFUSED: [502, 'S3 rejected a request.', 'Check the bucket and the permissions of its credentials.'],
  SYNC_INCOMPLETE: [502, 'Some files could not be synced.', 'See the report for their names, then sync again.'],
  WORKSPACE_NOT_STORED: [503, 'The workspace could not be stored, so the sandbox was kept.',
    'Try again in a moment. With ?force=true the sandbox is ended, and what is not stored is lost.'],
  S3_UNAVAILABLE: [503, 'S3 cannot be reached.', 'Try again in a moment.'],
  MODAL_UNAVAILABLE: [503, 'Modal cannot be reached.', 'Try again in a moment.'],
  IDENTITY_UNAVAILABLE: [503, 'Your token cannot be verified at the moment.',
    'Try again in a moment; if it persists, the operator has to check JWT_JWKS_URL.'],
  CREATE_INTERRUPTED: [503, 'The service stopped while it created the sandbox.',
    'Send the request again, with the same Idempotency-Key if it had one.'],
  SHUTTING_DOWN: [503, 'The service is restarting.', 'Try again in a moment.'],
  MODAL_TIMEOUT: [504, 'Modal took too long to answer.', 'Try again in a moment.'],
  NO_SPACE: [507, 'No space is left where your sandboxes run.', 'Remove files or end sandboxes, then try again.']
} as const satisfies Record<string, readonly [number, string, string]>

export type ErrorCode = keyof typeof table

export const errorCodes = Object.keys(table) as ErrorCode[]

interface AppErrorOptions {
  /** Shown to the client instead of the table's message: no secrets, no server paths, no stack. */
  message?: string
  hint?: string
  cause?: unknown
  /** The step of a longer operation that failed. Shown to the client. */
  step?: string
  /** Extra fields of the error body, for example the active run's id. */
  details?: Record<string, unknown>
  headers?: Record<string, string>
}

/** An error with a code of the table. `message` is shown to the client; the `cause` chain is for the log only. */
export class AppError extends Error {
  readonly code: ErrorCode
  readonly hint: string
  readonly step: string | undefined
  readonly details: Record<string, unknown>
  readonly headers: Record<string, string>

  constructor (code: ErrorCode, options: AppErrorOptions = {}) {
    super(options.message ?? table[code][1], { cause: options.cause })
    this.name = 'AppError'
    this.code = code
    this.hint = options.hint ?? table[code][2]
    this.step = options.step
    this.details = options.details ?? {}
    this.headers = options.headers ?? {}
  }

  get statusCode (): number {
    return table[this.code][0]
  }
}

/**
 * Adds the step in which an error happened and keeps the error as the cause (10.1).
 * An AppError keeps its code, message and details; any other error gets the code `fallback`.
 */
export function wrap (cause: unknown, step: string, fallback: ErrorCode = 'INTERNAL'): AppError {
  if (!(cause instanceof AppError)) return new AppError(fallback, { cause, step })
  const { code, message, hint, details, headers } = cause
  return new AppError(code, { message, hint, details, headers, cause, step })
}
