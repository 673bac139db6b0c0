import {
  AlreadyExistsError, ClientClosedError, ConflictError, InvalidError, NotFoundError, ResourceExhaustedError,
  SandboxTimeoutError, TimeoutError
} from 'modal'
import { AppError, wrap, type ErrorCode } from '../../errors.js'

/** What Modal's "not found", "invalid" and "conflict" mean depends on the call. */
export interface ErrorMeanings {
  notFound?: ErrorCode
  invalid?: ErrorCode
  conflict?: ErrorCode
}

/** gRPC status codes; numbers are the protocol's. */
const status = {
  cancelled: 1,
  invalidArgument: 3,
  deadlineExceeded: 4,
  notFound: 5,
  alreadyExists: 6,
  permissionDenied: 7,
  resourceExhausted: 8,
  failedPrecondition: 9,
  unimplemented: 12,
  unavailable: 14,
  unauthenticated: 16
}

interface GrpcError extends Error { code: number, details: string }

/** An SDK or gRPC error (nice-grpc's ClientError, which the SDK does not export) as one of the table's (10.1). */
export function modalError (cause: unknown, step: string, meanings: ErrorMeanings = {}): AppError {
  if (cause instanceof AppError) return cause.step === undefined ? wrap(cause, step) : cause
  const { code, told } = classify(cause, meanings)
  const message = told === undefined || told === '' ? undefined : told.slice(0, 4000)
  return new AppError(code, {
    cause,
    step,
    ...(code === 'MODAL_UNAVAILABLE' && { headers: { 'retry-after': '5' } }),
    ...(message !== undefined && { message })
  })
}

/** The answer of a lookup; undefined when Modal has nothing of that name. */
export async function unlessMissing<T> (lookup: Promise<T>): Promise<T | undefined> {
  return await lookup.catch((error: unknown) => {
    if (!(error instanceof NotFoundError)) throw error
    return undefined
  })
}

/** Whether Modal, or the SDK in its place, has rejected what was asked for. */
export function isInvalid (error: unknown): boolean {
  return error instanceof InvalidError
}

/** Whether Modal does not offer what was asked for, in any of the ways in which it may say so. */
export function isNotOffered (error: unknown): boolean {
  const codes = [status.invalidArgument, status.failedPrecondition, status.unimplemented]
  return isInvalid(error) || (isGrpcError(error) && codes.includes(error.code))
}

/** Whether the answer to a call may have been lost after Modal carried it out. */
export function mayHaveHappened (error: AppError): boolean {
  return ['MODAL_TIMEOUT', 'MODAL_UNAVAILABLE', 'MODAL_ERROR'].includes(error.code)
}

/** `told` is Modal's own text, where it is about something the client sent. */
function classify (error: unknown, meanings: ErrorMeanings): { code: ErrorCode, told?: string } {
  const { notFound = 'MODAL_ERROR', invalid = 'INVALID_SANDBOX', conflict = 'MODAL_ERROR' } = meanings
  if (isGrpcError(error)) return classifyStatus(error, meanings)
  if (error instanceof NotFoundError) return { code: notFound, ...textFor(notFound, error) }
  if (error instanceof AlreadyExistsError) return { code: 'SANDBOX_NAME_TAKEN' }
  if (error instanceof InvalidError) return { code: invalid, told: error.message }
  if (error instanceof ResourceExhaustedError) return exhausted(error.message)
  if (error instanceof TimeoutError || error instanceof SandboxTimeoutError) return { code: 'MODAL_TIMEOUT' }
  if (error instanceof ConflictError || error instanceof ClientClosedError) return { code: conflict }
  if (error instanceof Error && /^Image build for \S+ /.test(error.message)) {
    const told = buildFailure(error.message)
    return noSpace.test(told) ? exhausted(told) : { code: 'IMAGE_BUILD_FAILED', told }
  }
  if (error instanceof Error && /^Deadline exceeded/.test(error.message)) return { code: 'MODAL_TIMEOUT' }
  return { code: 'MODAL_ERROR' }
}

/** The emulator's words for a full disk, of which no other resource is called that. */
const noSpace = /^(The image could not be built: )?No space is left on the disk/

/** What Modal has no more of: sandboxes, as a rule. */
function exhausted (text: string): { code: ErrorCode, told: string } {
  return noSpace.test(text)
    ? { code: 'NO_SPACE', told: `${text}.` }
    : { code: 'MODAL_UNAVAILABLE', told: 'Modal has no capacity for another sandbox at the moment, or limits how fast they are created.' }
}

function classifyStatus (error: GrpcError, meanings: ErrorMeanings): { code: ErrorCode, told?: string } {
  const { notFound = 'MODAL_ERROR', invalid = 'INVALID_SANDBOX', conflict = 'MODAL_ERROR' } = meanings
  switch (error.code) {
    case status.invalidArgument: return { code: invalid, told: error.details }
    case status.deadlineExceeded: return { code: 'MODAL_TIMEOUT' }
    case status.notFound: return { code: notFound, ...textFor(notFound, error) }
    case status.alreadyExists: return { code: 'SANDBOX_NAME_TAKEN' }
    case status.permissionDenied:
    case status.unauthenticated: return { code: 'MODAL_UNAUTHORIZED' }
    case status.resourceExhausted: return exhausted(error.details)
    case status.failedPrecondition: return { code: conflict, ...textFor(conflict, error) }
    case status.unimplemented: return { code: 'NOT_SUPPORTED', told: error.details }
    case status.cancelled:
    case status.unavailable: return { code: 'MODAL_UNAVAILABLE' }
    default: return { code: 'MODAL_ERROR' }
  }
}

/** Only errors about something the client named may repeat Modal's words; an id of another account's sandbox is not. */
function textFor (code: ErrorCode, error: Error): { told?: string } {
  const theirs: ErrorCode[] = ['SECRET_NOT_FOUND', 'COMMAND_FAILED', 'INVALID_SANDBOX']
  return theirs.includes(code) ? { told: isGrpcError(error) ? error.details : error.message } : {}
}

function isGrpcError (error: unknown): error is GrpcError {
  return error instanceof Error && error.name === 'ClientError' && 'code' in error && typeof error.code === 'number'
}

/** The reason of a failed build is at the end of its text; the image id in front means nothing to a client. */
function buildFailure (message: string): string {
  const text = message.replace(/^Image build for \S+ (failed with the exception:\n)?/, '').trim()
  return text.length <= 3000 ? `The image could not be built: ${text}` : `The image could not be built: ...${text.slice(-3000)}`
}
