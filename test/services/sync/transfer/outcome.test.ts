import t from 'tap'
import { SyncStats } from '../../../../services/sync/report.js'
import { S3Error } from '../../../../services/sync/s3/errors.js'
import type { Target } from '../../../../services/sync/transfer/entries.js'
import { defaultPartSize } from '../../../../services/sync/transfer/limits.js'
import { DownloadOutcome, UploadOutcome, type TransferContext } from '../../../../services/sync/transfer/outcome.js'
import type { Entry } from '../../../../services/sync/workspace/workspace.js'

const contextOf = (stats: SyncStats): TransferContext => ({ stats, store: {} as never, workspace: {} as never })
const refused = new S3Error('AccessDenied', { status: 403 })
const entry = (path: string, size = 3): Entry =>
  ({ path, type: 'file', mode: 0o644, size, mtime: '1', ctime: '1', uid: 0, gid: 0 })

t.test('An upload names what failed, and ends when everything fails or something else than S3 did', async (t) => {
  const stats = new SyncStats()
  const stored: unknown[] = []
  const keyFor = ({ path }: Entry) => path === 'a' ? undefined : `saves/${path}`
  const onStored = (path: string, saved: object) => { stored.push([path, saved]) }
  const context = { ...contextOf(stats), keyFor, onStored }
  const outcome = new UploadOutcome(context)
  t.match(outcome.objectFor(entry('a')), { key: 'a', metadata: { mode: '0100644', mtime: '1' } })
  t.equal(outcome.objectFor(entry('b')).key, 'saves/b')
  for (let n = 0; n < 39; n++) outcome.failed(`${n}`, refused)
  outcome.stored(entry('a'), 'e', ['h'])
  outcome.stored(entry('b', 2 * defaultPartSize), 'e', ['h', 'h'])
  outcome.unreadable({ path: 'c', code: 'GONE', message: '' })
  outcome.failed('d', refused)
  outcome.check()
  t.match(stored, [['a', { partSize: 0, own: true }], ['b', { partSize: defaultPartSize, key: 'saves/b' }]])
  t.match(stats.report('upload'), { files: 2, bytes: 3, failed: { length: 41 } }, 'parts count their bytes themselves')
  for (let n = 0; n < 40; n++) outcome.failed(`${n}`, refused)
  t.throws(() => outcome.check(), refused)

  const other = new UploadOutcome(context)
  other.failed('e', new TypeError('a mistake of ours'))
  t.throws(() => other.check(), TypeError)
})

t.test('A download knows what it has to find in the workspace', async (t) => {
  const stats = new SyncStats()
  const outcome = new DownloadOutcome(contextOf(stats))
  const saved = { type: 'file' as const, mode: 0o644, size: 3, mtime: '1', etag: 'e', hashes: [], partSize: 0, own: true }
  const target = (path: string): Target => ({ path, key: path, etag: 'e', size: 3 })
  outcome.restored(target('a'), saved)
  outcome.restored(target('b'), saved, true)
  outcome.restored(target('c'), saved)
  outcome.failed('c', refused)
  t.throws(() => outcome.failed('a', new TypeError('a mistake of ours')), TypeError)
  t.strictSame([[...outcome.written.keys()], [...outcome.verifiedInPlace]], [['b'], ['b']])
  outcome.restored({ ...target('d'), saved: { ...saved, hashes: ['forged'] } }, { ...saved, hashes: ['right'] })
  outcome.restored({ ...target('e'), saved: { ...saved, hashes: ['right'] } }, { ...saved, hashes: ['right'] })
  outcome.restored({ ...target('f'), saved }, { ...saved, hashes: ['right'] })
  t.match(stats.report('download').warnings, { length: 1, 0: { path: 'd', code: 'MANIFEST_WRONG' } })
  t.match(stats.report('download').failed, [{ path: 'c', code: 'AccessDenied', message: 'S3 refused it.' }])
  outcome.check()
  outcome.stopWith(new Error('the first'))
  outcome.stopWith(new Error('the second'))
  t.throws(() => outcome.check(), { message: 'the first' })
})
