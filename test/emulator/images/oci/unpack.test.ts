import { execFile } from 'node:child_process'
import { chmod, lstat, mkdir, mkdtemp, readdir, readFile, readlink, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import t, { type Test } from 'tap'
import { removeTree } from '../../../../emulator/container/host.js'
import { limits, Unpacker } from '../../../../emulator/images/oci/unpack.js'
import { repeatAsUser } from '../../../helpers/as-user.js'
import { hostDirectory, readHost } from '../../../helpers/containers.js'
import { directory, extendedHeader, file, hardLink, symlink, tarOf, type TarInput } from '../../../helpers/oci-image.js'

const isRoot = process.getuid!() === 0
const run = promisify(execFile)

/** Archives that arrive in small pieces. */
async function * stream (archive: Buffer): AsyncGenerator<Buffer> {
  for (let at = 0; at < archive.length; at += 1000) yield archive.subarray(at, at + 1000)
}

/** A root with these layers, lowest first. */
async function unpack (t: Test, layers: Array<TarInput[] | Buffer>, most = limits) {
  const root = join(await mkdtemp(join(tmpdir(), 'unpack-')), 'root')
  t.teardown(() => removeTree(join(root, '..')))
  await mkdir(root)
  const unpacker = new Unpacker(root, { keepsOwners: isRoot, signal: new AbortController().signal, limits: most })
  for (const layer of layers) await unpacker.layer(stream(Buffer.isBuffer(layer) ? layer : tarOf(layer)))
  await unpacker.finish()
  return { root, leftOut: unpacker.leftOut, read: async (path: string) => await readFile(join(root, path), 'utf8') }
}

/** Every path below a root. */
async function paths (root: string): Promise<string[]> {
  return (await readdir(root, { recursive: true })).sort()
}

t.test('Files get what the archive says of them: modes with setuid, owners, times, links, long names', async (t) => {
  const long = `${'deep/'.repeat(40)}file`
  const { root, read } = await unpack(t, [[
    directory('usr/', 0o755), file('./usr/tool', 'tool', { mode: 0o4755, uid: 3, gid: 4, mtime: 1_000_000_000 }),
    hardLink('usr/same', '/usr/tool'), symlink('bin', '/usr'), symlink('dangling', 'nowhere'),
    file(long, 'deep'), directory('tmp', 0o1777), file('secret', 's', { mode: 0 }), file('größe', 'ü'),
    file('empty'), file('usr/large', Buffer.alloc(300_000, 'x'))
  ]])
  const tool = await stat(join(root, 'usr/tool'))
  t.equal(tool.mode & 0o7777, 0o4755)
  t.equal(tool.mtimeMs, 1_000_000_000_000)
  t.same([tool.uid, tool.gid], isRoot ? [3, 4] : [process.getuid!(), process.getgid!()])
  t.equal((await stat(join(root, 'usr/same'))).ino, tool.ino)
  t.equal(await readlink(join(root, 'bin')), '/usr')
  t.equal((await stat(join(root, 'tmp'))).mode & 0o7777, 0o1777)
  t.equal((await stat(join(root, 'secret'))).mode & 0o7777, 0)
  t.same([await read(long), await read('größe'), await read('empty')], ['deep', 'ü', ''])
  t.equal(await read('usr/large'), 'x'.repeat(300_000))
  t.equal((await stat(join(root, 'deep'))).mode & 0o7777, 0o755, 'a directory without an entry')
})

t.test('A layer that closes a directory does not keep later ones out of it', async (t) => {
  const { root, read } = await unpack(t, [[directory('closed', 0o500), file('closed/a', 'a')], [file('closed/b', 'b')]])
  t.same([await read('closed/a'), await read('closed/b')], ['a', 'b'])
  t.equal((await stat(join(root, 'closed'))).mode & 0o7777, 0o500)
  await chmod(join(root, 'closed'), 0o700)
})

t.test('Whiteouts remove what the layers below have, and nothing of their own layer', async (t) => {
  const below = [directory('a'), file('a/old', '1'), file('a/gone', '1'), directory('b'), file('b/old', '1'), directory('b/sub'), file('b/sub/old', '1'), file('c', '1')]
  const { root } = await unpack(t, [below, [
    file('a/.wh.gone'), file('.wh.c'), file('.wh.never'), file('absent/.wh.x'), file('.wh..wh.plnk', ''),
    // The marker of an opaque directory may come after what the layer puts there.
    file('b/sub/new', '2'), file('b/.wh..wh..opq'), file('b/new', '2'), file('a/new', '2'), file('a/.wh.new')
  ]])
  t.same(await paths(root), ['a', 'a/new', 'a/old', 'b', 'b/new', 'b/sub', 'b/sub/new'])
  const replaced = await unpack(t, [[file('d/x'), file('d'), directory('d'), file('d/.wh.x'), file('d/.wh..wh..opq')]])
  t.same(await paths(replaced.root), ['d'])
})

t.test('What a layer puts in place of something else replaces it, and links to directories are followed within the image', async (t) => {
  const { root, read } = await unpack(t, [
    [directory('usr'), directory('usr/lib'), symlink('lib', 'usr/lib'), symlink('etc', '/usr/etc'), directory('d'), file('d/x'), symlink('s', '/usr'), file('f')],
    [file('lib/new', 'in usr'), file('etc/conf', 'made'), file('d', 'a file now'), directory('s'), file('s/y'), directory('f'), file('up', 'x')]
  ])
  t.same([await read('usr/lib/new'), await read('usr/etc/conf'), await read('d')], ['in usr', 'made', 'a file now'])
  t.ok((await lstat(join(root, 'lib'))).isSymbolicLink())
  t.ok((await lstat(join(root, 's'))).isDirectory())
  t.ok((await lstat(join(root, 'f'))).isDirectory())
})

t.test('Devices and FIFOs are left out and counted', async (t) => {
  const { root, leftOut } = await unpack(t, [[{ path: 'null', flag: '3' }, { path: 'pipe', flag: '6' }, file('x')]])
  t.same(await paths(root), ['x'])
  t.same([...leftOut], [['devices and FIFOs', 2]])
})

t.test('Capabilities of files are kept byte for byte, and attributes that mean something to an overlay are not', async (t) => {
  const capability = Buffer.from('0100000280000000000000000000000000000000', 'hex')
  const pax = { 'SCHILY.xattr.security.capability': capability, 'SCHILY.xattr.trusted.overlay.opaque': 'y', 'SCHILY.xattr.user.overlay.redirect': '/x' }
  const { root, leftOut } = await unpack(t, [[directory('d'), file('d/ping', 'x', { pax }), file('d/lost', 'x', { pax }), symlink('l', 'd')], [file('d/.wh.lost')]])
  if (!isRoot) return t.same([...leftOut], [['extended attributes (Operation not permitted)', 1]])
  const look = 'use strict; my $l = "\\0" x 999; my $n = syscall(194, $ARGV[0], $l, 999); print join ",", split /\\0/, substr($l, 0, $n); ' +
    'my $v = "\\0" x 99; my $c = "security.capability"; $n = syscall(191, $ARGV[0], $c, $v, 99); print " ", unpack "H*", substr($v, 0, $n)'
  const numbers = process.arch === 'x64' ? look : look.replace('194', '11').replace('191', '8')
  const { stdout } = await run('perl', ['-e', numbers, join(root, 'd/ping')])
  t.equal(stdout, `security.capability ${capability.toString('hex')}`)
})

t.test('Nothing is written outside, whatever an archive says', async (t) => {
  const host = await hostDirectory(t)
  await writeFile(join(host, 'precious'), 'host')
  await chmod(join(host, 'precious'), 0o640)
  const before = await stat(host)
  const pax = { 'SCHILY.xattr.user.mark': 'x' }
  /** Each is a layer; those that are refused must be so for this reason. */
  const attacks: Array<[TarInput[][], RegExp | undefined]> = [
    [[[file('../escaped')]], /leads out of it/],
    [[[file('a/../../escaped')]], /leads out of it/],
    [[[file('/../escaped')]], /leads out of it/],
    [[[file('..')]], /leads out of it/],
    [[[directory('../up', 0o777)]], /leads out of it/],
    [[[file('a/.wh...')]], /whiteout of '\.\.'/],
    [[[file('.wh..')]], /whiteout of '\.'/],
    [[[file('.wh.')]], /whiteout of ''/],
    [[[hardLink('stolen', '../../etc/passwd')]], /leads out of it/],
    [[[hardLink('stolen', `${host}/precious`)]], /not a file of the image/],
    [[[symlink('l', host), hardLink('stolen', 'l/precious')]], /not a file of the image/],
    [[[symlink('l', 'l'), file('l/x')]], /too many links/],
    [[[symlink('a', 'b/b'), symlink('b', 'a/a'), file('a/x')]], /too many links/],
    [[[file('.', 'x')]], /in place of its root/],
    [[[symlink('/', host)]], /in place of its root/],
    [[[file('x'), file('x/y')]], /not a directory/],
    [[[file('nul', '', { pax: { path: 'a\0b' } })]], /NUL/],
    [[[file('x', '', { pax: { path: Buffer.from([0xff, 0xfe]) } })]], /not UTF-8/],
    [[[file('x', '', { pax: { size: '-5' } })]], /impossible size/],
    [[[file('x', '', { pax: { uid: '-1' } })]], /impossible owner/],
    [[[file('x', '', { pax: { 'GNU.sparse.major': '1' } })]], /sparse/],
    [[[file('x', '', { pax: { comment: Buffer.alloc(2_000_000) } })]], /headers of an entry of the archive are too long/],
    [[[{ path: 'x', flag: 'S' }]], /not supported/],
    // These are fine as far as the image goes: they lead to places inside it.
    [[[symlink('out', host), file('out/precious', 'evil'), file('out/new', 'evil')]], undefined],
    [[[symlink('out', host)], [file('out/precious', 'evil'), file('out/.wh.precious'), file('out/.wh..wh..opq')]], undefined],
    [[[symlink('out', '../../../../../../../../..'), file(`out${host}/new`, 'evil')]], undefined],
    [[[symlink('one', 'two'), symlink('two', host), file('one/new', 'evil')]], undefined],
    [[[symlink('precious', `${host}/precious`), file('precious', 'evil', { mode: 0o777 })]], undefined],
    [[[symlink('link', `${host}/precious`), hardLink('same', 'link'), file('same', 'evil')]], undefined],
    [[[symlink('l', host), { ...directory('l', 0o777) }, file('l/x')]], undefined],
    // Attributes are set at the end, when the path may lead elsewhere.
    [[[directory('d', 0o777), file('d/precious', 'x', { pax }), symlink('d', host)]], undefined],
    [[[directory('d', 0o777), directory('d/sub', 0o777)], [symlink('d', host)]], undefined],
    [[[directory('d', 0o777), { ...symlink('d', host), mode: 0o777, uid: 7, gid: 7 }]], undefined],
    [[[file('f', 'x', { pax }), symlink('f', `${host}/precious`)]], undefined]
  ]
  for (const [layers, refusal] of attacks) {
    const name = JSON.stringify(layers.flat().map(({ path, target }) => target === undefined ? path : `${path} -> ${target}`)).slice(0, 120)
    const attempt = unpack(t, layers)
    if (refusal === undefined) await t.resolves(attempt, name)
    else await t.rejects(attempt, { name: 'ImageError', message: refusal }, name)
    t.equal(await readHost(host), 'precious: host', name)
  }
  const after = await stat(join(host, 'precious'))
  t.equal(after.mode & 0o7777, 0o640)
  t.equal(after.nlink, 1)
  t.same([(await stat(host)).mode, (await stat(host)).uid], [before.mode, before.uid])
})

t.test('An image that would fill the disk or the memory is refused before it is written', async (t) => {
  const many = Array.from({ length: 100 }, (_, index) => file(`f${index}`, 'x'))
  await t.rejects(unpack(t, [many], { ...limits, entries: 99 }), /larger than what the local emulator takes/)
  await t.rejects(unpack(t, [many.slice(0, 50), many], { ...limits, entries: 149 }), /larger than/)
  await t.rejects(unpack(t, [[file('big', Buffer.alloc(5000))]], { ...limits, bytes: 4999 }), /larger than/)
  await t.rejects(unpack(t, [many], { ...limits, nameBytes: 100 }), /larger than/)
  // The size is in the header: what does not follow is not waited for.
  const huge = tarOf([file('huge', 'x', { pax: { size: String(2 ** 50) } })])
  await t.rejects(unpack(t, [huge]), /larger than/)
})

t.test('Headers that follow each other without end are refused before they fill the memory', async (t) => {
  for (const flag of ['x', 'g'] as const) {
    const endless = async function * () {
      for (let index = 0; ; index++) yield extendedHeader(flag, { [`key${index}`]: 'v'.repeat(400) })
    }
    const unpacker = new Unpacker(await hostDirectory(t), { keepsOwners: isRoot, signal: new AbortController().signal })
    await t.rejects(unpacker.layer(endless()), /headers of an entry of the archive are too long/)
  }
})

t.test('What is no archive, damaged or cut off is told', async (t) => {
  const archive = tarOf([file('a', 'x'.repeat(2000)), file('b', 'y')])
  const damaged = Buffer.from(archive)
  damaged[0] = 1
  await t.rejects(unpack(t, [damaged]), /not a tar archive, or a damaged one/)
  await t.rejects(unpack(t, [Buffer.from('<html>'.repeat(1000))]), /not a tar archive/)
  await t.rejects(unpack(t, [archive.subarray(0, 1500)]), /ends in the middle/)
  await t.rejects(unpack(t, [archive.subarray(0, 700)]), /ends in the middle/)
  await t.rejects(unpack(t, [archive.subarray(0, 300)]), /ends in the middle/)
  t.same(await paths((await unpack(t, [Buffer.alloc(0), archive.subarray(0, -1024)])).root), ['a', 'b'], 'without the blocks at the end')
})

t.test('Archives of tar programs are read: GNU and POSIX, long names, large owners', async (t) => {
  const source = await mkdtemp(join(tmpdir(), 'unpack-source-'))
  t.teardown(() => removeTree(source))
  const long = `${'n'.repeat(200)}/${'m'.repeat(120)}`
  await mkdir(join(source, long), { recursive: true })
  await writeFile(join(source, long, 'file'), 'content')
  await writeFile(join(source, 'plain'), 'p')
  await run('ln', ['-s', `${'t'.repeat(150)}`, join(source, 'link')])
  for (const format of ['gnu', 'posix', 'oldgnu']) {
    const { stdout } = await run('tar', ['-C', source, `--format=${format}`, '--owner=3000000', '--group=3000000', '-cf', '-', '.'], { encoding: 'buffer', maxBuffer: 1e8 })
    const { root, read } = await unpack(t, [stdout])
    t.equal(await read(`${long}/file`), 'content', format)
    t.equal(await readlink(join(root, 'link')), 't'.repeat(150))
    if (isRoot) t.equal((await stat(join(root, 'plain'))).uid, 3_000_000)
  }
})

repeatAsUser(t, import.meta.url)
