import t from 'tap'
import { fromMetadata, toMetadata } from '../../../../services/sync/s3/metadata.js'

t.test('Metadata is written once and read from every tool that is known to write it', async (t) => {
  t.strictSame(toMetadata({ type: 'file', mode: 0o644, mtime: '1000.500000000', uid: 5, gid: 6 }), { mode: '0100644', mtime: '1000.500000000', uid: '5', gid: '6' })
  const cases: [string, Record<string, string>, object][] = [
    ['a', { mode: '0100644', mtime: '1.5' }, { type: 'file', mode: 0o644, mtime: '1.5' }],
    ['a', { mode: '100755' }, { type: 'file', mode: 0o755 }],
    ['a', { mode: '33188', mtime: '1700000000' }, { type: 'file', mode: 0o644, mtime: '1700000000' }],
    ['a', { mode: '41471' }, { type: 'symlink', mode: 0o777 }],
    ['a', { mode: '0120777' }, { type: 'symlink', mode: 0o777 }],
    ['d/', { mode: '16877' }, { type: 'directory', mode: 0o755 }],
    ['a', { 'file-permissions': '0640', 'file-mtime': '1700000000123456789ns' }, { type: 'file', mode: 0o640, mtime: '1700000000.123456789' }],
    ['a', { 'file-mtime': '1700000000123' }, { type: 'file', mtime: '1700000000.123' }],
    ['a', { mtime: '2020-01-01T00:00:00.5Z' }, { type: 'file', mtime: '1577836800.5' }],
    ['a', { mode: 'rwx', mtime: 'yesterday' }, { type: 'file' }],
    ['a', { mode: '99999999' }, { type: 'file' }],
    ['a', {}, { type: 'file' }]
  ]
  for (const [key, metadata, expected] of cases) {
    t.strictSame(fromMetadata(key, metadata), expected, JSON.stringify(metadata))
  }
})
