/** The types of the Messages API that the gateway itself answers with: https://docs.claude.com/en/api/errors. */
type ErrorType = 'invalid_request_error' | 'authentication_error' | 'permission_error' | 'not_found_error' |
  'request_too_large' | 'billing_error' | 'api_error' | 'overloaded_error' | 'timeout_error'

const statuses: Record<ErrorType, number> = {
  invalid_request_error: 400,
  authentication_error: 401,
  // 402 in the API's list of errors. The CLI shows the text of a 400 as it is, and of no other.
  billing_error: 400,
  permission_error: 403,
  not_found_error: 404,
  request_too_large: 413,
  api_error: 502,
  timeout_error: 504,
  overloaded_error: 529
}
const passing: ReadonlySet<ErrorType> = new Set(['api_error', 'timeout_error', 'overloaded_error'])

/** A refusal in the shape of the Messages API, which is all that the CLI understands. */
export class GatewayError extends Error {
  readonly type: ErrorType
  /** Of the account, sandbox and run, for the log. */
  ids: object = {}

  constructor (type: ErrorType, message: string, options?: { cause: unknown }) {
    super(message, options)
    this.name = 'GatewayError'
    this.type = type
  }

  get statusCode (): number {
    return statuses[this.type]
  }

  /** Anthropic's clients obey `x-should-retry`; without it the CLI repeats even a 400. */
  get headers (): Record<string, string> {
    const retry = passing.has(this.type)
    return { 'x-should-retry': String(retry), ...(this.type === 'overloaded_error' && { 'retry-after': '1' }) }
  }

  toJSON (): object {
    return { type: 'error', error: { type: this.type, message: this.message } }
  }
}

/** Of the HTTP server and client, and of this service's other errors. */
export function toGatewayError (error: unknown): GatewayError {
  if (error instanceof GatewayError) return error
  const { statusCode = 500, code = '' } = error as { statusCode?: number, code?: string }
  const options = { cause: (error as Error).cause ?? error }
  const refusal = (type: ErrorType, message: string) => new GatewayError(type, message, options)
  if (statusCode === 404) return refusal('not_found_error', 'There is nothing at this address.')
  if (statusCode === 413) return refusal('request_too_large', 'A request may have at most 32 MB.')
  if (statusCode === 504 || /TIMEOUT/.test(code)) return refusal('timeout_error', 'The model took too long to answer.')
  if (code === 'SHUTTING_DOWN') return refusal('overloaded_error', 'The service is restarting.')
  if (statusCode < 500) return refusal('invalid_request_error', 'This is not a request that the model takes.')
  return refusal('api_error', 'The model cannot be reached.')
}
