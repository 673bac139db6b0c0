import t from 'tap'
import { deleteObjects } from '../../../services/sync/cleanup.js'
import { SyncStats } from '../../../services/sync/report.js'
import { saved } from '../../helpers/entries.js'

t.test('What S3 refuses to delete is named and stays known (2.5)', async (t) => {
  const stats = new SyncStats()
  const asked: string[][] = []
  const store = { delete: async (keys: string[]) => { asked.push(keys); return [{ key: 'd/', code: 'AccessDenied' }] } } as never
  const gone = new Map([['a', saved()], ['d', saved({ type: 'directory' })], ['plain', saved({ type: 'directory', etag: '' })], ['kept', saved({ key: 'saves/x' })]])
  t.strictSame([...(await deleteObjects(store, gone, stats)).keys()], ['d'])
  t.strictSame(asked, [['a', 'd/']], 'neither what has no object nor what a save needs')
  t.match(stats.report('upload').failed, [{ path: 'd', code: 'AccessDenied' }])
})
