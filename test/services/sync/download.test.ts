import t from 'tap'
import { verify } from '../../../services/sync/download.js'
import { saved, entries, entry } from '../../helpers/entries.js'

t.test('Every way in which an entry may not be what was stored is said', async (t) => {
  const link = (size: number) => entry('link', { type: 'symlink', size })
  const listed = entries(entry('ok'), entry('mode', { mode: 0o600 }), entry('size', { size: 4 }), entry('time', { mtime: '5' }),
    entry('type', { type: 'directory' }), entry('content'), entry('unreadable'), entry('dir', { type: 'directory', mode: 0o755 }), link(4))
  const hashes = new Map([['ok', 'h'], ['content', 'other']])
  const workspace = { list: async () => ({ entries: listed }), hash: async () => hashes } as never
  const stored = ['ok', 'mode', 'size', 'time', 'type', 'content', 'unreadable', 'missing'].map((path) => [path, saved({ hashes: ['h'] })] as const)
  const unchanged = new Map([['dir', saved({ type: 'directory', mode: 0o755 })], ['link', saved({ type: 'symlink', size: 3 })]])
  const { wrong, count } = await verify(workspace, { written: new Map(stored), verifiedInPlace: new Set() }, unchanged)
  t.equal(count, 1)
  const reasons = {
    mode: /^Its mode is 600, not 644/,
    size: /4 bytes, not 3/,
    time: /changed meanwhile/,
    type: /a directory instead of a file/,
    content: /not what S3 has/,
    unreadable: /cannot be read/,
    missing: /not in the workspace/,
    link: /another target/
  }
  t.match(Object.fromEntries(wrong), reasons)
  t.equal(wrong.size, Object.keys(reasons).length)
  t.equal((await verify(workspace, { written: new Map(), verifiedInPlace: new Set() }, new Map([['link', saved({ type: 'symlink', size: 4 })]]))).count, 1)
})
