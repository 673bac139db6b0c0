import { AppError, wrap } from '../../errors.js'
import type { SyncReport } from '../../schemas/sync.js'
import { S3Error } from './s3/errors.js'
import { WorkspaceLost } from './workspace/workspace.js'

/** A sync with failures is an error that carries its report (2.5). */
export function syncIncomplete (report: SyncReport): AppError {
  const [first, ...others] = report.failed
  const many = others.length === 0 ? '1 file could not be synced' : `${report.failed.length} files could not be synced, one of them`
  const message = `${many}: ${first!.path}: ${first!.message}`
  return new AppError('SYNC_INCOMPLETE', { message, details: { report } })
}

/** What clients may know of a failure; the rest is for the log. */
export function toAppError (cause: unknown): AppError {
  if (cause instanceof AppError) return cause
  if (cause instanceof WorkspaceLost) {
    return new AppError('WORKSPACE_LOST', { message: `The workspace cannot be synced: ${cause.message}.`, cause })
  }
  if (!(cause instanceof S3Error)) return wrap(cause, 'sync')
  if (cause.kind === 'transient' || cause.kind === 'slow') {
    return new AppError('S3_UNAVAILABLE', { message: `S3 cannot be reached, or is too slow: ${cause.code}.`, cause })
  }
  const messages: Record<string, string> = {
    NoSuchBucket: 'The S3 bucket does not exist.',
    AccessDenied: 'The S3 credentials may not use this bucket or prefix.',
    SignatureDoesNotMatch: 'S3 does not accept the secret access key.',
    InvalidAccessKeyId: 'S3 does not know the access key.'
  }
  return new AppError('S3_REFUSED', { message: messages[cause.code] ?? `S3 refused a request: ${cause.code}.`, cause })
}
