/**
 * Every error a client can see: status, friendly message and what to do about it.
 * Codes are a contract; messages and hints may be improved.
 */
const table = {
  BAD_REQUEST: [400, 'The request is not valid.', 'Correct the field that the message names.'],
  UNAUTHENTICATED: [401, 'You are not signed in.', 'Send an API key or a token: Authorization: Bearer <key>.'],
  PATH_FORBIDDEN: [403, 'This path leads out of the workspace.', 'Only the workdir and the volume can be reached here.'],
  FORBIDDEN: [403, 'Your account may not do this.', 'Ask the operator to extend what your account may use.'],
  NOT_FOUND: [404, 'There is nothing at this address.', 'See the API section of the README.'],
  SANDBOX_NOT_FOUND: [404, 'There is no such sandbox.', 'List your sandboxes, or create a new one.'],
  RUN_NOT_FOUND: [404, 'There is no such run.', 'List the runs of the sandbox.'],
  PERMISSION_NOT_FOUND: [404, 'The run has not asked for that permission.', 'Ask for the run: it lists what it waits for.'],
  SESSION_NOT_FOUND: [404, 'There is no such conversation.', 'Start a new one by leaving sessionId out.'],
  FILE_NOT_FOUND: [404, 'There is no such file.', 'List the directory to see what is there.'],
  SECRET_NOT_FOUND: [404, 'A named secret does not exist.', 'Create the secret in Modal, or correct its name.'],
  VERSION_NOT_FOUND: [404, 'There is no such save of this workspace.', 'List the saves with a GET.'],
  REQUEST_TIMEOUT: [408, 'The request did not arrive in time.', 'Send it again, faster.'],
  SANDBOX_NAME_TAKEN: [409, 'A running sandbox has this name already.', 'Use it, end it, or choose another name.'],
  IDEMPOTENCY_KEY_REUSED: [409, 'This Idempotency-Key was used with another request.', 'Use a new key.'],
  SANDBOX_ENDED: [409, 'The sandbox has ended.', 'Create a new one; files on a volume are still there.'],
  SANDBOX_EXPIRING: [409, 'The sandbox is about to end.', 'Create a new one on the same volume and go on there.'],
  PERMISSION_RESOLVED: [409, 'That request for permission has its answer.', 'Nothing to do.'],
  RUN_ACTIVE: [409, 'A run is active in this sandbox.', 'Wait for it, or cancel it.'],
  NO_STORAGE: [409, 'The sandbox has no S3 storage.', 'Name a bucket when you create it.'],
  SYNC_ACTIVE: [409, 'A sync of this workspace is running.', 'Wait for it; one that died is given up within a minute.'],
  SYNC_REFUSED: [409, 'The sync would destroy more than it keeps.', 'Check the workspace, or sync without delete.'],
  PAYLOAD_TOO_LARGE: [413, 'The request is too large.', 'A prompt may have 1 MB; put larger things in files.'],
  UNSUPPORTED_MEDIA_TYPE: [415, 'The body is not JSON.', 'Send content-type: application/json.'],
  IMAGE_BUILD_FAILED: [422, 'The image could not be built.', 'Read the message, correct the image or its commands.'],
  NOT_SUPPORTED: [422, 'The place where sandboxes run does not support this.', 'Leave the named option out.'],
  INVALID_SANDBOX: [422, 'Modal does not accept this sandbox.', 'Correct what the message names.'],
  COMMAND_FAILED: [422, 'The command could not be started.', 'Check that the program and the workdir exist.'],
  HEADERS_TOO_LARGE: [431, 'The headers of the request are too large.', 'Send at most 16 KiB of them.'],
  FILE_FAILED: [422, 'The file could not be read or written.', 'Check its permissions and the space that is left.'],
  RATE_LIMITED: [429, 'Too many requests.', 'Wait as long as the retry-after header says.'],
  LIMIT_REACHED: [429, 'Your account has reached a limit.', 'End something first, or ask for a higher limit.'],
  CLIENT_CLOSED: [499, 'The client went away.', 'Nothing to do.'],
  INTERNAL: [500, 'Something went wrong on our side.', 'Try again; if it stays, report the request id.'],
  MODAL_ERROR: [502, 'Modal did not accept the request.', 'Try again; if it stays, report the request id.'],
  MODAL_UNAUTHORIZED: [502, 'Modal does not accept the credentials of this service.',
    'The operator has to check MODAL_TOKEN_ID and MODAL_TOKEN_SECRET.'],
  CLAUDE_FAILED: [502, 'Claude could not be started.', 'Check the image and the model key, then try again.'],
  WORKSPACE_LOST: [502, 'The workspace can not be reached.', 'Check that the sandbox runs and has its directory.'],
  S3_REFUSED: [502, 'S3 did not accept a request.', 'Check the bucket, and what its credentials may do.'],
  SYNC_INCOMPLETE: [502, 'Some files could not be synced.', 'The report names them; sync again.'],
  S3_UNAVAILABLE: [503, 'S3 can not be reached.', 'Try again in a moment.'],
  MODAL_UNAVAILABLE: [503, 'Modal can not be reached.', 'Try again in a moment.'],
  SHUTTING_DOWN: [503, 'The service is restarting.', 'Try again in a moment.'],
  MODAL_TIMEOUT: [504, 'Modal took too long to answer.', 'Try again in a moment.']
} as const satisfies Record<string, readonly [number, string, string]>

export type ErrorCode = keyof typeof table

export interface AppErrorOptions {
  /** For the client, instead of the table's: no secret, no path of the server, no stack. */
  message?: string
  hint?: string
  cause?: unknown
  /** The step of a longer operation that failed; clients see it. */
  step?: string
  /** Extra fields of the answer, for example the active run's id. */
  details?: Record<string, unknown>
  headers?: Record<string, string>
}

/** An error with a code of the table. `message` is what the client may read; the `cause` chain is for the log. */
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
 * Says which step an error happened in and keeps it as the cause (10.1).
 * The code, message and details of an AppError are kept; anything else becomes `fallback`.
 */
export function wrap (cause: unknown, step: string, fallback: ErrorCode = 'INTERNAL'): AppError {
  if (!(cause instanceof AppError)) return new AppError(fallback, { cause, step })
  const { code, message, hint, details, headers } = cause
  return new AppError(code, { message, hint, details, headers, cause, step })
}

/** The whole chain in one line, for logs and tests: `step: message: cause message`. */
export function chain (error: unknown): string {
  const parts: string[] = []
  for (let current = error; current instanceof Error && parts.length < 10; current = current.cause) {
    const step = current instanceof AppError && current.step ? `${current.step}: ` : ''
    const text = `${step}${current.message}`
    if (parts.at(-1) !== text) parts.push(text)
  }
  return parts.length > 0 ? parts.join(': ') : String(error)
}
