import { execFileSync } from 'node:child_process'
import { lstat, mkdtemp, readFile, readlink, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import t from 'tap'
import { AppError } from '../errors.js'
import { ByteReader, EndOfStream } from '../lib/byte-reader.js'
import type { Account } from '../schemas/account.js'
import { checkStorage, planStorage } from '../services/sandboxes/storage.js'
import { AutoSync } from '../services/sync/auto-sync.js'
import { deleteObjects } from '../services/sync/cleanup.js'
import { toAppError } from '../services/sync/errors.js'
import { withoutIgnored } from '../services/sync/ignore.js'
import { decodeManifest, encodeManifest, readPageEnds } from '../services/sync/manifest-file.js'
import { sameTime } from '../services/sync/manifest.js'
import { planDownload } from '../services/sync/plan-download.js'
import { planUpload } from '../services/sync/plan-upload.js'
import type { Remote } from '../services/sync/remote.js'
import { SyncStats } from '../services/sync/report.js'
import { S3Error } from '../services/sync/s3/errors.js'
import type { SavedEntry } from '../services/sync/transfer/entries.js'
import { verify } from '../services/sync/verify.js'
import { readStatRecords, type StatRecord } from '../services/sync/workspace/stat-records.js'
import { encodeHeader, readMember, tarEnd, tarPadding } from '../services/sync/workspace/tar.js'
import { WorkspaceLost, type Entry } from '../services/sync/workspace/workspace.js'
import { LocalWorkspace } from './helpers/local-workspace.js'

const saved = (more: Partial<SavedEntry> = {}): SavedEntry => ({
  type: 'file', mode: 0o644, size: 3, mtime: '1000.5', etag: 'e', hashes: [], partSize: 0, own: true, ...more
})

t.test('A directory as a workspace says what it can not read, and what it can not write (2.5, 3.4)', async (t) => {
  const root = await mkdtemp(join(tmpdir(), 'workspace-'))
  t.teardown(() => rm(root, { recursive: true }))
  const workspace = new LocalWorkspace(root)
  t.equal((await new LocalWorkspace(join(root, 'nowhere')).list()).missing, true)
  execFileSync('mkfifo', [join(root, 'pipe')])
  await writeFile(Buffer.concat([Buffer.from(`${root}/bad-`), Buffer.from([0xff])]), '')
  const { special, problems, entries } = await workspace.list()
  t.match({ special, problems, count: entries.size }, { special: 1, problems: [{ code: 'NAME_NOT_UTF8' }], count: 0 })

  const entry = (path: string): Entry => ({ path, type: 'file', mode: 0o644, size: 1, mtime: '1', ctime: '1', uid: 0, gid: 0 })
  for await (const read of workspace.readMany([entry('gone'), entry('pipe')])) t.match(read, { code: 'GONE' })
  for (const path of ['gone', 'pipe']) {
    const large = await workspace.readLarge(entry(path))
    for await (const chunk of large.chunks) t.fail(`${chunk.length} bytes`)
    t.same([large.entry, await large.confirm()], [undefined, undefined])
    large.cancel()
  }

  const write = async (...all: object[]) => await workspace.write((async function * () { yield * all as never[] })())
  const common = { mode: 0o644, mtime: '1000' }
  const file = (path: string, text: string, size = text.length) => ({ ...common, path, type: 'file', size, body: Buffer.from(text) })
  const directory = (path: string) => ({ ...common, mode: 0o755, path, type: 'directory', size: 0 })
  const link = (path: string) => ({ ...common, path, type: 'symlink', size: 1, target: 'x' })
  t.equal(await write(file('a', 'one'), directory('a'), file('a/b', 'two'), file('c', ''), link('c'), file('c', 'three')), '')
  t.match(await write(file('a', 'x')), /^a: ENOTEMPTY$/)
  await workspace.remove(['a', 'gone'])
  t.equal(await readFile(join(root, 'a/b'), 'utf8'), 'two', 'what is not empty stays')
  await workspace.remove(['a/b', 'a'])
  t.equal(await write(directory('a'), file('a', 'empty directories make room')), '')
  t.same([...(await workspace.hash(['c', 'gone'])).keys()], ['c'])
  await t.rejects(write(file('short', 'abc', 5)), { message: /ended early/ })
})
const entry = (path: string, more: Partial<Entry> = {}): Entry => ({
  path, type: 'file', mode: 0o644, size: 3, mtime: '1000.500000000', ctime: '1000.5', uid: 0, gid: 0, ...more
})
const entries = (...list: Entry[]) => new Map(list.map((one) => [one.path, one]))
const remoteOf = (more: Partial<Remote> = {}): Remote => ({
  tracked: new Map(),
  untracked: new Map(),
  missing: new Map(),
  superseded: new Map(),
  storedAt: new Map(),
  packs: new Map(),
  obsoletePacks: [],
  hasManifest: true,
  problems: [],
  isEmpty: false,
  ...more
})
const foreign = (key: string) => ({ key, size: 3, etag: 'f', storedAt: 2_000_000 })

t.test('An account uses its own buckets, prefixes and secrets, and nothing that looks like them (2.3, 9.3)', async (t) => {
  const account = {
    id: 'acme',
    s3: [{ bucket: 'work', keyPrefix: 'acme' }, { bucket: 'team-*', secretName: 'acme-*', keyPrefix: 'x/{account}', region: 'eu-1' },
      { bucket: 'ext', endpointUrl: 'https://s3.acme.io' }]
  } as Account
  const flags = { readOnly: true, initialize: true, syncOnTerminate: true, syncAfterRun: false, versioned: false }
  const plan = (spec: object) => planStorage(account, { ...flags, ...spec } as never)
  t.match(plan({ bucket: 'work' }), { bucket: 'work', prefix: 'acme/' })
  t.match(plan({ bucket: 'work', keyPrefix: 'acme/a/b' }), { prefix: 'acme/a/b/' })
  t.match(plan({ bucket: 'team-1', secretName: 'acme-aws', mountPath: '/m//x/' }), {
    prefix: 'x/acme/', secretName: 'acme-aws', region: 'eu-1', mountPath: '/m/x'
  })
  t.match(plan({ bucket: 'ext' }), { prefix: '', endpointUrl: 'https://s3.acme.io' })
  t.match(plan({ bucket: 'ext', endpointUrl: 'https://s3.acme.io/' }), { endpointUrl: 'https://s3.acme.io' })
  const forbidden = [
    { bucket: 'works' }, { bucket: 'work', keyPrefix: 'acme-evil' }, { bucket: 'work', keyPrefix: '' }, { bucket: 'team-1' },
    { bucket: 'work', keyPrefix: 'ACME/' }, { bucket: 'work', secretName: 'acme-aws' }, { bucket: 'ext', endpointUrl: 'http://127.0.0.1' }
  ]
  for (const spec of forbidden) t.throws(() => plan(spec), { code: 'FORBIDDEN' }, JSON.stringify(spec))
  for (const keyPrefix of ['acme/../x', '/acme', 'acme//', 'acme/.', '..', 'acme/.modal-sandbox']) {
    t.throws(() => plan({ bucket: 'work', keyPrefix }), { code: 'BAD_REQUEST' }, keyPrefix)
  }
  t.throws(() => plan({ bucket: 'work', mountPath: '/m' }), { code: 'BAD_REQUEST', message: /secretName/ })
  checkStorage(account, plan({ bucket: 'ext' }))
  t.throws(() => checkStorage({ ...account, s3: [] }, plan({ bucket: 'ext' })), { code: 'FORBIDDEN' })
})

t.test('A manifest survives its way, and what makes no sense in one is left out', async (t) => {
  const all = new Map([['a', saved({ hashes: ['0'.repeat(64)] })], ['d', saved({ type: 'directory', etag: '' })],
    ['l\n"', saved({ type: 'symlink', own: false, key: '.modal-sandbox/saves/v/l' })]])
  const retired = new Map([['old/', { etag: 'r', storedAt: 1_700_000_000_123 }]])
  const manifest = { savedAt: '2026-01-02T03:04:05.678Z', entries: all, superseded: retired }
  t.strictSame(await decodeManifest(await encodeManifest(manifest)), manifest)
  const head = JSON.stringify({ modalSandbox: 1, savedAt: manifest.savedAt })
  const lines = (...texts: string[]) => decodeManifest(gzipSync([head, ...texts].join('\n')))
  const good = '["ok","f",420,3,"1","e",[],0,1]'
  t.strictSame([...(await lines('["a","x",1,1,"1","e",[],0,1]', '["a","f",-1,1,"1","e",[],0,1]', '{}', '["a","f",9999,1,"1","e",[],0,1]',
    '["a","f",1,1,"now","e",[],0,1]', '["a","f",1,1,"1","e",["zz"],0,1]', '["a","e",-1]', '["a",1,1]', '5', good)).entries.keys()], ['ok'])
  for (const bad of [Buffer.from('no gzip'), gzipSync('no json'), gzipSync(`{"modalSandbox":2}\n${good}`), gzipSync(`${head}\n[`), Buffer.alloc(0)]) {
    t.equal((await decodeManifest(bad)).entries.size, 0)
  }
})

t.test('A manifest tells first where pages of the list end, whatever of the rest can be read', async (t) => {
  const paths = Array.from({ length: 2000 }, (_, n) => `dir/${String(n).padStart(4, '0')}`)
  const entries = new Map(paths.map((path) => [path, saved({})]))
  entries.set('dir', saved({ type: 'directory', etag: '' }))
  const whole = await encodeManifest({ savedAt: new Date().toISOString(), entries, superseded: new Map() })
  t.strictSame(await readPageEnds(whole), ['dir/0948', 'dir/1898'], 'the manifest itself has a key, a plain directory has none')
  t.strictSame(await readPageEnds(whole.subarray(0, whole.length - 9)), ['dir/0948', 'dir/1898'], 'although it is cut off')
  t.strictSame(await readPageEnds(Buffer.from('no gzip')), [])
  t.strictSame(await readPageEnds(Buffer.alloc(0)), [])
  const savedAt = new Date().toISOString()
  for (const pageEnds of ['a', [1], { 0: 'a' }]) {
    const bytes = gzipSync(JSON.stringify({ modalSandbox: 1, savedAt, pageEnds }))
    t.strictSame(await readPageEnds(bytes), [], JSON.stringify(pageEnds))
  }
})

t.test('Times are the same as far as both are told', async (t) => {
  for (const [one, other] of [['1', '1'], ['1.5', '1'], ['1.500000000', '1.5'], ['1.123456789', '1.123456000']]) {
    t.ok(sameTime(one!, other!), `${one} ${other}`)
  }
  for (const [one, other] of [['1', '2'], ['1.5', '1.6'], ['1.9', '2']]) t.notOk(sameTime(one!, other!), `${one} ${other}`)
})

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

t.test('A download restores what differs, never through a symlink, and leaves newer work alone when asked', async (t) => {
  const known = new Map([['same', saved()], ['old', saved()], ['dir/x', saved()], ['edited', saved()], ['d', saved({ type: 'directory', mode: 0o700 })]])
  const remote = remoteOf({
    tracked: known,
    untracked: new Map([['theirs', foreign('theirs')], ['x', foreign('x')], ['x/y', foreign('x/y')], ['touched', foreign('touched')]]),
    missing: new Map([['deleted', saved()], ['deleted-but-edited', saved()]])
  })
  const local = entries(entry('same'), entry('old', { mtime: '900' }), entry('dir', { type: 'symlink' }), entry('edited', { mtime: '2000' }),
    entry('deleted'), entry('deleted-but-edited', { size: 9 }), entry('touched', { mtime: '2001' }), entry('d', { type: 'symlink' }))
  const plan = planDownload(local, remote, true)
  t.strictSame(plan.downloads.map(({ path }) => path), ['old', 'dir/x', 'theirs', 'x/y'])
  t.strictSame(plan.directories.map(({ path }) => path), ['d'])
  t.strictSame(plan.kept, ['edited', 'touched'])
  t.strictSame(plan.inTheWay.toSorted(), ['d', 'dir'])
  t.strictSame([...plan.unchanged.keys()], ['same'])
  t.strictSame(plan.stale, ['deleted'], 'only what is as it was stored')
  t.match(plan.problems, [{ path: 'x', code: 'KEY_CONFLICT' }])
  t.ok(planDownload(local, remote, false).downloads.some(({ path }) => path === 'edited'))
})

t.test('What no session needs again is left out at its place only, files and directories each as what they are', async (t) => {
  const cli = '.claude-sandbox'
  const out = [`${cli}/.credentials.json`, `${cli}/debug/`, `${cli}/debug/log`, `${cli}/ide/1.lock`, 'lost+found/', 'lost+found/x',
    '.nfs0001', 'a/.nfs/', 'a/.nfs/b', '.modal-sandbox-part-1', 'a/.modal-sandbox-part-2']
  const kept = [`${cli}/debug`, `${cli}/debugger/x`, `${cli}/.credentials.json2`, `${cli}/settings.json`, `a/${cli}/debug/x`,
    'xclaude-sandbox/debug/x', 'lost+found', 'a/lost+found/', 'lostfound/', 'a.nfs', 'nfs', '.modal-sandbox-par', '.claude-sandbox/']
  const all = new Map([...out, ...kept].map((name) => {
    const path = name.replace(/\/$/, '')
    return [name, entry(path, { type: name.endsWith('/') ? 'directory' : 'file' })]
  }))
  t.strictSame([...(await withoutIgnored(new LocalWorkspace('/'), all)).keys()], kept)
})

t.test('A stream is read by exact numbers of bytes, however it is cut', async (t) => {
  const source = async function * (...chunks: string[]) { for (const chunk of chunks) yield Buffer.from(chunk) }
  const reader = new ByteReader(source('ab', '', 'c/', '/d\0\0', '\0e', 'f'))
  t.equal((await reader.until('//'))?.toString(), 'abc')
  t.equal((await reader.take(1)).toString(), 'd')
  await reader.skipZeros()
  t.equal((await reader.some(9))?.toString(), 'e')
  await reader.skip(1)
  t.equal(await reader.until('x'), undefined)
  await t.rejects(reader.take(1), EndOfStream)
  await t.rejects(new ByteReader(source('abc')).until('x'), EndOfStream)
  await t.rejects(new ByteReader(source('abc')).skip(4), EndOfStream)
})

t.test('Records of a listing are understood whatever their names, and however the stream is cut', async (t) => {
  const fields = 'ff 12 1700000000.123456789 1700000001.5 1000 100'
  const records = ['.//41ed 4096 1 2 0 0', `./a/b c//81${fields}`, `./line\nbreak 1 2 3//81${fields}`, `./ü/👩\ufffd//a1${fields}`,
    './pipe//11a4 0 1 1 0 0']
  const notUtf8 = Buffer.from(`./\xff//81${fields}\n`, 'latin1')
  const bytes = Buffer.concat([Buffer.from(records.map((record) => `${record}\n`).join('')), notUtf8, Buffer.from('//\nrest')])
  for (const size of [1, 7, 64, bytes.length]) {
    const chunks = async function * () {
      for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size)
    }
    const reader = new ByteReader(chunks())
    const looks: StatRecord[] = []
    await readStatRecords(reader, (look) => { looks.push(look) })
    t.strictSame(looks.map(({ path, type, validName }) => [path, type, validName]), [
      ['.', 'directory', true], ['a/b c', 'file', true], ['line\nbreak 1 2 3', 'file', true], ['ü/👩\ufffd', 'symlink', true],
      ['pipe', 'special', true], ['\ufffd', 'file', false]
    ], `${size}`)
    t.match(looks[1], { mode: 0o777, size: 12, mtime: '1700000000.123456789', ctime: '1700000001.5', uid: 1000, gid: 100 })
    t.equal((await reader.take(4)).toString(), 'rest', 'what follows is not taken')
    await t.rejects(readStatRecords(reader, () => {}), EndOfStream)
  }
})

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
    unreadable: /can not be read/,
    missing: /not in the workspace/,
    link: /another target/
  }
  t.match(Object.fromEntries(wrong), reasons)
  t.equal(wrong.size, Object.keys(reasons).length)
  t.equal((await verify(workspace, { written: new Map(), verifiedInPlace: new Set() }, new Map([['link', saved({ type: 'symlink', size: 4 })]]))).count, 1)
})

t.test('What S3 refuses to delete is named and stays known (2.5)', async (t) => {
  const tally = new SyncStats()
  const asked: string[][] = []
  const store = { delete: async (keys: string[]) => { asked.push(keys); return [{ key: 'd/', code: 'AccessDenied' }] } } as never
  const gone = new Map([['a', saved()], ['d', saved({ type: 'directory' })], ['plain', saved({ type: 'directory', etag: '' })], ['kept', saved({ key: 'saves/x' })]])
  t.strictSame([...(await deleteObjects(store, gone, tally)).keys()], ['d'])
  t.strictSame(asked, [['a', 'd/']], 'neither what has no object nor what a save needs')
  t.match(tally.report('upload').failed, [{ path: 'd', code: 'AccessDenied' }])
})

t.test('A failure of S3 or of the sandbox is explained without its inside (3.4, 10.1)', async (t) => {
  const said = (cause: unknown) => { const { code, message } = toAppError(cause); return `${code} ${message}` }
  t.equal(said(new S3Error('ECONNREFUSED')), 'S3_UNAVAILABLE S3 can not be reached, or is too slow: ECONNREFUSED.')
  t.equal(said(new S3Error('SlowDown', { status: 503 })), 'S3_UNAVAILABLE S3 can not be reached, or is too slow: SlowDown.')
  t.equal(said(new S3Error('AccessDenied', { status: 403 })), 'S3_REFUSED The S3 credentials may not use this bucket or prefix.')
  t.equal(said(new S3Error('Odd', { status: 400 })), 'S3_REFUSED S3 refused a request: Odd.')
  t.equal(said(new WorkspaceLost('the sandbox has ended')), 'WORKSPACE_LOST The workspace can not be synced: the sandbox has ended.')
  t.match(said(new TypeError('an inside')), /^INTERNAL (?!.*inside)/)
  t.match(said(new AppError('SYNC_ACTIVE')), /^SYNC_ACTIVE/)
})

t.test('Work is stored in time, once more when that failed, and whatever must not be deleted', async (t) => {
  const asked: object[] = []
  const warned: unknown[] = []
  let outcome: () => Error | undefined = () => undefined
  const sync = {
    async sync (_owned: unknown, { direction, delete: isDeleting }: { direction: string, delete?: boolean }) {
      asked.push({ direction, isDeleting })
      const error = outcome()
      if (error !== undefined) throw error
      return {} as never
    }
  }
  const log = { info () {}, error () {}, warn: (fields: unknown) => { warned.push(fields) } }
  const moments = new AutoSync(sync, log)
  t.teardown(() => moments.close())
  const lasting = (ms: number, more: object = {}) => ({
    id: 'sb-1',
    createdAt: new Date(Date.now()).toISOString(),
    expiresAt: new Date(Date.now() + ms).toISOString(),
    idleTimeoutMs: '60000',
    s3: { syncOnTerminate: true, syncAfterRun: true, ...more },
    sandbox: { poll: async () => null }
  }) as never
  const seen = async (count: number) => {
    for (let tries = 0; tries < 200 && asked.length < count; tries++) {
      await new Promise((resolve) => { setTimeout(resolve, 10) })
    }
    return asked.splice(0)
  }
  moments.watch(lasting(300))
  moments.watch(lasting(300))
  t.strictSame(await seen(1), [{ direction: 'upload', isDeleting: false }], 'before it expires, once')
  moments.watch(lasting(-1000))
  moments.watch(lasting(600_000, { idle: true }))
  moments.watch({ ...lasting(600_000) as object, id: 'sb-2', idleTimeoutMs: '200' } as never)
  t.strictSame(await seen(1), [{ direction: 'upload', isDeleting: false }], 'before it is idle for too long')
  moments.watch({ ...lasting(100) as object, id: 'sb-3', s3: undefined } as never)
  moments.forget('sb-1')

  outcome = () => asked.length === 1 ? new AppError('SYNC_REFUSED') : undefined
  await moments.beforeTerminate(lasting(1, { delete: true }), log)
  t.strictSame(await seen(2), [{ direction: 'upload', isDeleting: true }, { direction: 'upload', isDeleting: false }])
  outcome = () => new AppError('S3_UNAVAILABLE')
  await t.rejects(moments.beforeTerminate(lasting(1, { delete: true }), log), { code: 'S3_UNAVAILABLE' })
  t.equal((await seen(1)).length, 1)
  await moments.afterRun(lasting(600_000))
  t.match(warned, [{ sandboxId: 'sb-1', occasion: 'after a run' }], 'nobody waits for it, so the log has it')
  outcome = () => new AppError('SYNC_ACTIVE')
  await moments.afterRun(lasting(600_000))
  outcome = () => new AppError('WORKSPACE_LOST')
  await moments.afterRun({ ...lasting(600_000) as object, sandbox: { poll: async () => 137 } } as never)
  await moments.afterRun(lasting(600_000, { syncAfterRun: false }))
  t.equal(warned.length, 1, 'neither another sync nor an ended sandbox is worth a word')
  t.equal((await seen(3)).length, 3)
})
