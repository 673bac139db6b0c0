import t from 'tap'
import { AppError } from '../../../errors.js'
import { toAppError } from '../../../services/sync/errors.js'
import { S3Error } from '../../../services/sync/s3/errors.js'
import { WorkspaceLost } from '../../../services/sync/workspace/workspace.js'

t.test('A failure of S3 or of the sandbox is explained without its inside (3.4, 10.1)', async (t) => {
  const said = (cause: unknown) => { const { code, message } = toAppError(cause); return `${code} ${message}` }
  t.equal(said(new S3Error('ECONNREFUSED')), 'S3_UNAVAILABLE S3 cannot be reached, or is too slow: ECONNREFUSED.')
  t.equal(said(new S3Error('SlowDown', { status: 503 })), 'S3_UNAVAILABLE S3 cannot be reached, or is too slow: SlowDown.')
  t.equal(said(new S3Error('AccessDenied', { status: 403 })), 'S3_REFUSED The S3 credentials may not use this bucket or prefix.')
  t.equal(said(new S3Error('Odd', { status: 400 })), 'S3_REFUSED S3 refused a request: Odd.')
  t.equal(said(new WorkspaceLost('the sandbox has ended')), 'WORKSPACE_LOST The workspace cannot be synced: the sandbox has ended.')
  t.match(said(new TypeError('an inside')), /^INTERNAL (?!.*inside)/)
  t.match(said(new AppError('SYNC_ACTIVE')), /^SYNC_ACTIVE/)
})
