import { status } from '@grpc/grpc-js'
import { ContainerError } from '../container/types.js'
import { isNoSpace, noSpaceText } from '../lib/no-space.js'
import type { Log } from '../log.js'

/**
 * An answer with a gRPC status. The SDK retries INTERNAL, UNKNOWN, CANCELLED, UNAVAILABLE and DEADLINE_EXCEEDED for
 * seconds, so none of them is used for a failure that a retry would meet again.
 */
export class StatusError extends Error {
  readonly code: status

  constructor (code: status, message: string, options?: ErrorOptions) {
    super(message, options)
    this.name = 'StatusError'
    this.code = code
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

const notSupported = (reason: string) => `Not supported by the local emulator: ${reason}`

/** For what the emulator can't do honestly. The text names the emulator, so that nobody blames Modal. */
export const unimplemented = (reason: string) =>
  new StatusError(status.UNIMPLEMENTED, notSupported(reason))

const statuses: Partial<Record<ContainerError['reason'], status>> = { ended: status.NOT_FOUND, dropped: status.OUT_OF_RANGE }

/** The one place where errors become statuses. Unexpected ones are logged, and answered with a generic text. */
export function toStatus (error: unknown, method: string, log: Log): { code: status, details: string } {
  if (isNoSpace(error)) {
    log.warn({ err: error, method }, 'emulator: a call failed because the disk is full')
    const isTold = error instanceof ContainerError && error.reason === 'no_space'
    return { code: status.RESOURCE_EXHAUSTED, details: isTold ? error.message : noSpaceText }
  }
  if (error instanceof StatusError) return { code: error.code, details: error.message }
  if (error instanceof ContainerError) {
    if (error.reason === 'unsupported') return { code: status.UNIMPLEMENTED, details: notSupported(error.message) }
    log.warn({ err: error, method }, 'emulator: the container layer refused a call')
    return { code: statuses[error.reason] ?? status.FAILED_PRECONDITION, details: error.message }
  }
  log.error({ err: error, method }, 'emulator: a call failed unexpectedly')
  return { code: status.FAILED_PRECONDITION, details: `${method} failed in the local emulator; see its log` }
}
