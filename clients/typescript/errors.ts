import type { components } from './schema.js'

type ErrorBody = components['schemas']['Error']

/**
 * The service's own codes, and what only a client can see. `UNREACHABLE`: there was no answer. `CONNECTION_LOST`: the
 * answer broke off. `NOT_FROM_SERVICE`: something in front of the service has answered. What became of a request with
 * one of these three nobody knows.
 */
export type ErrorCode = ErrorBody['code'] | 'UNREACHABLE' | 'CONNECTION_LOST' | 'NOT_FROM_SERVICE'

interface ApiErrorOptions {
  status?: number
  code: ErrorCode
  message: string
  hint: string
  details?: Record<string, unknown>
  retryAfterMs?: number | undefined
  cause?: unknown
}

/** A request that failed. Handle it by its `code`; `message` and `hint` are for people and may change. */
export class ApiError extends Error {
  override readonly name = 'ApiError'
  /** Of HTTP; 0 when there was no answer. */
  readonly status: number
  readonly code: ErrorCode
  /** What to do about it. */
  readonly hint: string
  /** All that the service has said, with the fields that only some errors have, such as `runId` or `limit`. */
  readonly details: Record<string, unknown>
  /** How long the service asks to wait before the request is repeated. */
  readonly retryAfterMs: number | undefined

  constructor ({ status = 0, code, message, hint, details = {}, retryAfterMs, cause }: ApiErrorOptions) {
    super(message, { cause })
    this.status = status
    this.code = code
    this.hint = hint
    this.details = details
    this.retryAfterMs = retryAfterMs
  }

  /** What of the request is wrong, such as `body.image.registry`. */
  get field (): string | undefined {
    return this.#text('field')
  }

  /** The step of a longer operation that failed. */
  get step (): string | undefined {
    return this.#text('step')
  }

  /** By which the operator of the service finds it in the log. */
  get requestId (): string | undefined {
    return this.#text('requestId')
  }

  #text (name: string): string | undefined {
    const value = this.details[name]
    return typeof value === 'string' ? value : undefined
  }
}

/** @param body what came with a status that is no success. */
function errorOfAnswer (body: unknown, { status, headers }: Response): ApiError {
  const retryAfterMs = millisecondsOf(headers.get('retry-after'))
  if (isErrorBody(body)) return errorOfBody(body, { retryAfterMs })
  return new ApiError({
    status,
    code: 'NOT_FROM_SERVICE',
    message: `The answer has status ${status}, and is not from the service.`,
    hint: 'Check the address of the service, and what stands in front of it.',
    retryAfterMs
  })
}

/** @param body of an error that came in an answer, or in an event. */
export function errorOfBody (body: ErrorBody, options: { retryAfterMs?: number | undefined } = {}): ApiError {
  const { statusCode: status, code, message, hint } = body
  return new ApiError({ status, code, message, hint, details: body, ...options })
}

export function unreachable (cause: unknown): ApiError {
  return new ApiError({
    code: 'UNREACHABLE',
    message: 'The service cannot be reached.',
    hint: 'Check its address, and in a browser that it lists the page\'s origin in CORS_ORIGINS.',
    cause
  })
}

export function connectionLost (cause?: unknown): ApiError {
  return new ApiError({
    code: 'CONNECTION_LOST',
    message: 'The connection to the service was lost.',
    hint: 'Look at what has become of the request before you repeat it.',
    cause
  })
}

interface Answer<Data> { data?: Data, error?: unknown, response: Response }

/** The data of a request's answer. @throws {ApiError} for one that is no success. */
export async function unwrap<Data> (request: Promise<Answer<Data>>): Promise<Exclude<Data, undefined>> {
  return dataOf(await request)
}

/** Like {@link unwrap}, of an answer that is there. */
export function dataOf<Data> ({ data, error, response }: Answer<Data>): Exclude<Data, undefined> {
  if (!response.ok) throw errorOfAnswer(error, response)
  return data as Exclude<Data, undefined>
}

function isErrorBody (body: unknown): body is ErrorBody {
  return typeof body === 'object' && body !== null && 'code' in body && 'message' in body && 'statusCode' in body
}

/** Of a header with seconds or a date. */
function millisecondsOf (retryAfter: string | null): number | undefined {
  if (retryAfter === null) return undefined
  const ms = /^\d+$/.test(retryAfter) ? Number(retryAfter) * 1000 : Date.parse(retryAfter) - Date.now()
  return Number.isNaN(ms) ? undefined : Math.max(0, ms)
}
