import { Metadata, status } from '@grpc/grpc-js'
import { ContainerError } from '../container/types.js'
import { isNoSpace, noSpaceText } from '../lib/no-space.js'
import type { Log } from '../log.js'

/**
 * An answer with a gRPC status. The SDK retries INTERNAL, UNKNOWN, CANCELLED, UNAVAILABLE and DEADLINE_EXCEEDED for
 * seconds, so none of them is used for a failure that a retry would meet again.
 */
export class StatusError extends Error {
  readonly code: status
  /** Trailers of the answer. */
  readonly metadata: Metadata | undefined

  constructor (code: status, message: string, { metadata, ...options }: ErrorOptions & { metadata?: Metadata } = {}) {
    super(message, options)
    this.name = 'StatusError'
    this.code = code
    this.metadata = metadata
  }
}

export const notFound = (text: string) => new StatusError(status.NOT_FOUND, text)
export const invalid = (text: string) => new StatusError(status.INVALID_ARGUMENT, text)
export const failedPrecondition = (text: string, cause?: unknown) =>
  new StatusError(status.FAILED_PRECONDITION, text, { cause })
export const alreadyExists = (text: string) => new StatusError(status.ALREADY_EXISTS, text)
export const resourceExhausted = (text: string) => new StatusError(status.RESOURCE_EXHAUSTED, text)
export const permissionDenied = (text: string) => new StatusError(status.PERMISSION_DENIED, text)
export const unauthenticated = (text: string) => new StatusError(status.UNAUTHENTICATED, text)

/** What Modal answers to calls that come too fast: the SDK repeats the call after that many seconds. */
export function tryAgain (text: string, seconds: number): StatusError {
  const metadata = new Metadata()
  metadata.set('grpc-status-details-bin', retryPolicy(status.RESOURCE_EXHAUSTED, seconds))
  return new StatusError(status.RESOURCE_EXHAUSTED, text, { metadata })
}

/** `google.rpc.Status {1: int32 code, 3: Any details}` with Modal's `RPCRetryPolicy {1: float retry_after_secs}`. */
export function retryPolicy (code: status, seconds: number): Buffer {
  const bytes = (field: number, value: Buffer) => Buffer.concat([Buffer.from([field << 3 | 2, value.length]), value])
  const policy = Buffer.alloc(5)
  policy[0] = 1 << 3 | 5
  policy.writeFloatLE(seconds, 1)
  const detail = [bytes(1, Buffer.from('type.googleapis.com/modal.client.RPCRetryPolicy')), bytes(2, policy)]
  return Buffer.concat([Buffer.from([1 << 3, code]), bytes(3, Buffer.concat(detail))])
}

const notSupported = (reason: string) => `Not supported by the local emulator: ${reason}`

/** For what the emulator can't do honestly. The text names the emulator, so that nobody blames Modal. */
export const unimplemented = (reason: string) =>
  new StatusError(status.UNIMPLEMENTED, notSupported(reason))

const statuses: Partial<Record<ContainerError['reason'], status>> = { ended: status.NOT_FOUND, dropped: status.OUT_OF_RANGE }

interface Answer { code: status, details: string, metadata?: Metadata }

/** The one place where errors become statuses. Unexpected ones are logged, and answered with a generic text. */
export function toStatus (error: unknown, method: string, log: Log): Answer {
  if (isNoSpace(error)) {
    log.warn({ err: error, method }, 'emulator: a call failed because the disk is full')
    const isTold = error instanceof ContainerError && error.reason === 'no_space'
    return { code: status.RESOURCE_EXHAUSTED, details: isTold ? error.message : noSpaceText }
  }
  if (error instanceof StatusError) {
    const { code, message: details, metadata } = error
    return { code, details, ...(metadata !== undefined && { metadata }) }
  }
  if (error instanceof ContainerError) {
    if (error.reason === 'unsupported') return { code: status.UNIMPLEMENTED, details: notSupported(error.message) }
    log.warn({ err: error, method }, 'emulator: the container layer refused a call')
    return { code: statuses[error.reason] ?? status.FAILED_PRECONDITION, details: error.message }
  }
  log.error({ err: error, method }, 'emulator: a call failed unexpectedly')
  return { code: status.FAILED_PRECONDITION, details: `${method} failed in the local emulator; see its log` }
}
