import t from 'tap'
import { S3Error, withRetries } from '../../../../services/sync/s3/errors.js'

t.test('Failed requests are retried as their errors allow', async (t) => {
  const kinds = (...codes: [string, number?][]) => codes.map(([code, status]) => new S3Error(code, { status }).kind)
  t.strictSame(kinds(['SlowDown', 503], ['Http503', 503], ['ECONNRESET'], ['InternalError', 500], ['ExpiredToken', 400],
    ['RequestTimeTooSkewed', 403], ['AccessDenied', 403], ['NoSuchBucket', 404], ['RequestTimeout', 400], ['Http429', 429]),
  ['slow', 'slow', 'transient', 'transient', 'credentials', 'skew', 'fatal', 'fatal', 'transient', 'slow'])
  let calls = 0
  const seen: string[] = []
  const onError = ({ kind }: S3Error) => { seen.push(kind) }
  const failing = (times: number, error: unknown) => async () => {
    if (calls++ < times) throw error
    return 'done'
  }
  t.equal(await withRetries(failing(3, new S3Error('ECONNRESET')), { onError }), 'done')
  t.strictSame(seen, ['transient', 'transient', 'transient'])
  calls = 0
  await t.rejects(withRetries(failing(1, new S3Error('AccessDenied', { status: 403 })), { onError }), { code: 'AccessDenied' })
  t.equal(calls, 1)
  calls = 0
  await t.rejects(withRetries(failing(99, new S3Error('ExpiredToken', { status: 400 })), { onError }), { code: 'ExpiredToken' })
  t.ok(calls <= 5, 'new credentials that are no better are no reason to go on')
  calls = 0
  await t.rejects(withRetries(failing(1, new TypeError('a mistake of ours')), { onError }), TypeError)
  const stopped = AbortSignal.abort(new Error('stopped'))
  await t.rejects(withRetries(failing(0, undefined), { onError, signal: stopped }), { message: 'stopped' })
})
