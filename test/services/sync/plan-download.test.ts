import t from 'tap'
import { planDownload } from '../../../services/sync/plan-download.js'
import { remoteOf, saved, entries, entry, untracked } from '../../helpers/entries.js'

t.test('A download restores what differs, never through a symlink, and leaves newer work alone when asked', async (t) => {
  const known = new Map([['same', saved()], ['old', saved()], ['dir/x', saved()], ['edited', saved()], ['d', saved({ type: 'directory', mode: 0o700 })]])
  const remote = remoteOf({
    tracked: known,
    untracked: new Map([['theirs', untracked('theirs')], ['x', untracked('x')], ['x/y', untracked('x/y')], ['touched', untracked('touched')]]),
    missing: new Map([['deleted', saved()], ['deleted-but-edited', saved()]])
  })
  const local = entries(entry('same'), entry('old', { mtime: '900' }), entry('dir', { type: 'symlink' }), entry('edited', { mtime: '2000' }),
    entry('deleted'), entry('deleted-but-edited', { size: 9 }), entry('touched', { mtime: '2001' }), entry('d', { type: 'symlink' }))
  const plan = planDownload(local, remote, { keepNewer: true })
  t.strictSame(plan.downloads.map(({ path }) => path), ['old', 'dir/x', 'theirs', 'x/y'])
  t.strictSame(plan.directories.map(({ path }) => path), ['d'])
  t.strictSame(plan.kept, ['edited', 'touched'])
  t.strictSame(plan.inTheWay.toSorted(), ['d', 'dir'])
  t.strictSame([...plan.unchanged.keys()], ['same'])
  t.strictSame(plan.stale, ['deleted'], 'only what is as it was stored')
  t.match(plan.warnings, [{ path: 'x', code: 'KEY_CONFLICT' }])
  t.strictSame(plan.problems, [], 'nobody is kept from the rest by it')
  t.ok(planDownload(local, remote).downloads.some(({ path }) => path === 'edited'))
})
