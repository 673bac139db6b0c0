import { execFileSync } from 'node:child_process'
import { lstat, mkdtemp, readFile, readlink, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { ByteReader } from '../../../../lib/byte-reader.js'
import { encodeHeader, readMember, tarEnd, tarPadding } from '../../../../services/sync/workspace/tar.js'

t.test('Archives of ours are read by tar, and tar\'s by us', async (t) => {
  const dir = await mkdtemp(join(tmpdir(), 'tar-'))
  t.teardown(() => rm(dir, { recursive: true }))
  const long = `${'n'.repeat(150)}/${'m'.repeat(150)}`
  const file = (path: string, body: string) => Buffer.concat([
    encodeHeader({ path, type: 'file', mode: 0o640, mtime: '1600000000.123456789', size: body.length }), Buffer.from(body), tarPadding(body.length)
  ])
  const archive = Buffer.concat([
    encodeHeader({ path: 'd', type: 'directory', mode: 0o750, mtime: '1600000000', size: 0 }),
    file('a', 'hello'), file(long, 'deep'), file('empty', ''),
    encodeHeader({ path: 'l', type: 'symlink', mode: 0o777, mtime: '1', size: 0, target: long }), tarEnd
  ])
  execFileSync('tar', ['-xpof', '-', '-C', dir], { input: archive })
  t.equal(await readFile(join(dir, long), 'utf8'), 'deep')
  t.equal(await readlink(join(dir, 'l')), long)
  const { mtimeNs, mode } = await lstat(join(dir, 'a'), { bigint: true })
  t.equal(mtimeNs, 1_600_000_000_123_456_789n)
  t.equal(mode & 0o7777n, 0o640n)
  const back = execFileSync('tar', ['--format=gnu', '--no-recursion', '-cf', '-', './a', `./${long}`, './l'], { cwd: dir })
  const pieces = async function * () {
    for (let at = 0; at < back.length; at += 700) yield back.subarray(at, at + 700)
  }
  const reader = new ByteReader(pieces())
  const members = []
  for (let member; (member = await readMember(reader)) !== undefined;) members.push(member)
  t.match(members.map(({ name, body }) => [name, body.toString()]), [['./a', 'hello'], [`./${long}`, 'deep'], ['./l', long]])
  const huge = encodeHeader({ path: 'h', type: 'file', mode: 0o644, mtime: '0', size: 50e9 })
  t.equal(Number(huge.readBigUInt64BE(128)), 50e9)
})
