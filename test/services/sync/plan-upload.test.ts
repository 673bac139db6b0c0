import t from 'tap'
import { planUpload } from '../../../services/sync/plan-upload.js'
import { remoteOf, saved, entries, entry } from '../../helpers/entries.js'

t.test('An upload stores what is new or changed, and nothing else', async (t) => {
  const local = entries(entry('same'), entry('changed', { size: 4 }), entry('newer', { mtime: '2000' }), entry('mode', { mode: 0o755 }),
    entry('new'), entry('plain', { type: 'directory', mode: 0o755 }), entry('plain/x'), entry('empty', { type: 'directory', mode: 0o755 }),
    entry('odd', { type: 'directory', mode: 0o700 }), entry('odd/x'), entry('link', { type: 'symlink', mode: 0o777 }), entry('bad\u0001'))
  const known = new Map(['same', 'changed', 'newer', 'mode', 'gone', 'odd/x', 'plain/x', 'ignored'].map((path) => [path, saved()]))
  known.set('link', saved({ type: 'symlink', mode: 0o755 }))
  const plan = planUpload(local, new Map([...local, ['ignored', entry('ignored')]]), remoteOf({ tracked: known }), '')
  t.strictSame(plan.uploads.map(({ path }) => path), ['changed', 'newer', 'mode', 'new', 'empty', 'odd'])
  t.strictSame([...plan.unchanged.keys()], ['same', 'plain', 'plain/x', 'odd/x', 'link'])
  t.strictSame([...plan.stale.keys()], ['gone'], 'what is merely ignored is not gone')
  t.match(plan.problems, [{ path: 'bad\u0001', code: 'NAME_NOT_CARRIED' }])
})
