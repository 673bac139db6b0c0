import {
  chmod, lstat, mkdir, readdir, readFile, rm, symlink, truncate, utimes, writeFile
} from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import { download } from '../../../services/sync/download.js'
import { decodeManifest, encodeManifest } from '../../../services/sync/manifest-store.js'
import { ObjectStore } from '../../../services/sync/s3/object-store.js'
import type { SavedEntry } from '../../../services/sync/transfer/entries.js'
import { upload } from '../../../services/sync/upload.js'
import { startFaultProxy } from '../../helpers/fault-proxy.js'
import { LocalWorkspace } from '../../helpers/local-workspace.js'
import { noS3 } from '../../helpers/s3.js'
import { openSyncStage } from '../../helpers/sync-stage.js'

t.test('a directory and a real S3 server', { skip: noS3 }, async (t) => {
  const { s3, root, storeAt } = await openSyncStage(t)
  const at = (name: string, prefix = `${name}/`) => ({ workspace: new LocalWorkspace(join(root, name)), store: storeAt(prefix), prefix })
  const write = async (name: string, path: string, text: string | Buffer) => {
    await mkdir(join(root, name, path, '..'), { recursive: true })
    await writeFile(join(root, name, path), text)
    // Past the time in which a change might leave no trace.
    await new Promise((resolve) => { setTimeout(resolve, 30) })
  }

  await t.test('Saves share what did not change, and any of them can be restored', async (t) => {
    await write('v', 'a', 'one')
    await write('v', 'big', Buffer.alloc(9_000_000, 'x'))
    const first = await upload({ ...at('v'), versioned: true })
    await write('v', 'a', 'two!')
    await write('v', 'b', 'new')
    const second = await upload({ ...at('v'), versioned: true })
    t.match(second, { files: 2, skipped: 1, version: String })
    t.match(await download({ ...at('w', 'v/'), version: first.version }), { files: 2, verified: 2 })
    t.equal(await readFile(join(root, 'w', 'a'), 'utf8'), 'one')
    t.match(await download({ ...at('w', 'v/') }), { files: 2, skipped: 1 }, 'the latest without a version')
    t.equal(await readFile(join(root, 'w', 'a'), 'utf8'), 'two!')
    await rm(join(root, 'v', 'b'))
    t.match(await upload({ ...at('v'), versioned: true, delete: true }), { deleted: 1, files: 0 })
    t.match(await download({ ...at('x', 'v/'), version: second.version }), { files: 3 }, 'older saves keep what newer ones do not have')
    await t.rejects(download({ ...at('w', 'v/'), version: '20200101T000000000Z-0000' }), { code: 'VERSION_NOT_FOUND' })
  })

  await t.test('A workspace that becomes versioned never gets back what a save has changed or left out', async (t) => {
    for (const path of ['a', 'gone', 'kind/x', 'same']) await write('p', path, 'plain')
    await upload(at('p'))
    await at('p').store.put('theirs', Buffer.from('of others'))
    await write('p', 'a', 'versioned')
    await rm(join(root, 'p', 'gone'))
    await rm(join(root, 'p', 'kind'), { recursive: true })
    await write('p', 'kind', 'a file now')
    await write('p', 'theirs', 'ours now')
    const first = await upload({ ...at('p'), versioned: true })
    t.match(first, { files: 3, skipped: 1, failed: { length: 0 } })
    const second = await upload({ ...at('p'), versioned: true })
    for (const [place, version] of [['p1', undefined], ['p2', first.version], ['p3', second.version]] as const) {
      t.match(await download({ ...at(place, 'p/'), version }), { files: 4, failed: { length: 0 } }, place)
      t.strictSame((await readdir(join(root, place))).sort(), ['a', 'kind', 'same', 'theirs'], place)
      t.equal(await readFile(join(root, place, 'a'), 'utf8'), 'versioned')
      t.equal(await readFile(join(root, place, 'theirs'), 'utf8'), 'ours now')
    }
    const keys: string[] = []
    for await (const page of at('p').store.list()) keys.push(...page.map(({ key }) => key))
    t.strictSame(keys.filter((key) => !key.startsWith('.')), ['a', 'gone', 'kind/x', 'same', 'theirs'], 'and nothing is deleted')
    await at('p').store.put('gone', Buffer.from('put there again'))
    t.match(await download(at('p1', 'p/')), { files: 1, skipped: 4 }, 'what others put there since is noticed')
    t.equal(await readFile(join(root, 'p1', 'gone'), 'utf8'), 'put there again')
    await upload(at('p1', 'p/'))
    t.match(await download(at('p4', 'p/')), { files: 5, failed: { length: 0 } }, 'it may become a plain one again')
  })

  await t.test('A save is the workspace as it was: what is gone is not in it, unless nothing can be seen at all', async (t) => {
    await write('s', 'a', 'one')
    await write('s', 'b', 'two')
    const both = await upload({ ...at('s'), versioned: true })
    await rm(join(root, 's', 'b'))
    const { version } = await upload({ ...at('s'), versioned: true })
    t.match(await download({ ...at('s1', 's/'), version }), { files: 1 })
    await rm(join(root, 's', 'a'))
    t.match(await upload({ ...at('s'), versioned: true }), { files: 0, deleted: 0 })
    t.match(await download(at('s2', 's/')), { files: 1 }, 'an empty workspace is most likely a mistake')
    t.match(await download({ ...at('s3', 's/'), version: both.version }), { files: 2 })
  })

  await t.test('Without the manifest a versioned workspace goes by its latest save', async (t) => {
    await write('l', 'a', 'one')
    await upload({ ...at('l'), versioned: true })
    await write('l', 'a', 'two')
    await upload({ ...at('l'), versioned: true })
    for (const damage of [
      () => at('l').store.delete(['.modal-sandbox/manifest.gz']), () => at('l').store.put('.modal-sandbox/manifest.gz', Buffer.from('nonsense'))
    ]) {
      await damage()
      await rm(join(root, 'l1'), { recursive: true, force: true })
      t.match(await download(at('l1', 'l/')), { files: 1, failed: { length: 0 } })
      t.equal(await readFile(join(root, 'l1', 'a'), 'utf8'), 'two')
      t.match(await upload({ ...at('l'), versioned: true }), { files: 0, skipped: 1 })
    }
  })

  await t.test('What is in the way of a download is replaced, kept or named, and never taken for a fault (2.5, 3.4)', async (t) => {
    for (const path of ['empty', 'full', 'dir/x', 'newer/x']) await write('o', path, 'from S3')
    await upload(at('o'))
    await mkdir(join(root, 'o1', 'empty/of/files'), { recursive: true })
    await write('o1', 'full/work', 'never stored')
    await write('o1', 'dir', 'a file')
    await write('o1', 'newer', 'work of this minute')
    await utimes(join(root, 'o1', 'full/work'), 1, 1)
    await utimes(join(root, 'o1', 'dir'), 1, 1)
    const inTheWay = { path: 'full', code: 'DIRECTORY_IN_THE_WAY', message: /not empty/ }
    const first = await download({ ...at('o1', 'o/'), keepNewer: true })
    t.match(first, { files: 2, kept: 2, failed: { length: 0 }, warnings: [inTheWay] }, 'what is older gives way, and nobody is kept from beginning')
    t.equal(await readFile(join(root, 'o1', 'empty'), 'utf8'), 'from S3')
    t.equal(await readFile(join(root, 'o1', 'dir/x'), 'utf8'), 'from S3')
    t.equal(await readFile(join(root, 'o1', 'newer'), 'utf8'), 'work of this minute', 'younger work stays (3.1)')
    await write('o1', 'full/work', 'of this minute')
    t.match(await download({ ...at('o1', 'o/'), keepNewer: true }), { files: 0, kept: 2, skipped: 2, failed: { length: 0 } })
    t.match(await download(at('o1', 'o/')), { files: 1, failed: [inTheWay] }, 'on demand a file gives way as any changed one does')
    t.equal(await readFile(join(root, 'o1', 'newer/x'), 'utf8'), 'from S3')
    t.equal(await readFile(join(root, 'o1', 'full/work'), 'utf8'), 'of this minute')
    await write('o1', 'full/more', 'x')
    await rm(join(root, 'o1', 'newer'), { recursive: true })
    await write('o1', 'newer', 'a file again')
    t.match(await upload(at('o1', 'o/')), { files: 3, failed: { length: 0 } }, 'an upload puts what is there in the place of what was')
    t.match(await download(at('o2', 'o/')), { files: 5, failed: { length: 0 } })
  })

  await t.test('A list or a manifest that ends early is asked for again: nothing counts as gone for it (2.5, 3.5)', async (t) => {
    for (const path of ['a', 'b', 'c']) await write('h', path, path)
    await upload(at('h'))
    const proxy = await startFaultProxy(s3.endpoint)
    t.teardown(() => proxy.close())
    for (const share of [0.1, 0.6, 0.9]) {
      const store = storeAt('h/', { endpoint: proxy.endpoint })
      const cut = new Set<string>()
      proxy.use(({ method, url }) => {
        const kind = url.includes('list-type') ? 'list' : url.includes('manifest.gz') ? 'manifest' : 'other'
        if (method !== 'GET' || cut.has(kind)) return
        cut.add(kind)
        return { kind: 'truncated', at: share }
      })
      t.match(await download({ workspace: at('h').workspace, store, prefix: 'h/', delete: true }), { skipped: 3, deleted: 0, failed: { length: 0 } })
      t.match(await download({ ...at(`h${share}`, 'h/'), store }), { files: 3, failed: { length: 0 } }, `${share}`)
      t.strictSame([...cut].sort(), ['list', 'manifest', 'other'])
    }
  })

  await t.test('A manifest of somebody else leads nowhere outside, hides nothing and proves nothing (9.3)', async (t) => {
    const { store } = at('t')
    await write('t', 'a', 'aaa')
    await write('t', 'large', Buffer.alloc(9_000_000, 'x'))
    await upload(at('t'))
    const { entries } = await decodeManifest((await store.get('.modal-sandbox/manifest.gz')).body)
    const [a, large] = [entries.get('a')!, entries.get('large')!]
    const lie = async (all: [string, SavedEntry][]) => {
      const superseded = new Map([['a', { etag: a.etag, storedAt: 1 }]])
      await store.put('.modal-sandbox/manifest.gz', await encodeManifest({ savedAt: new Date().toISOString(), entries: new Map(all), superseded }))
    }
    const [outside, saves] = ['../outside', '.modal-sandbox/saves/20260101T000000000Z-0000/']
    const { etag } = await store.put(outside, Buffer.from('x'))
    await store.put(`${saves}../outside`, Buffer.from('x'))
    await store.put(`${saves}d/../../outside`, Buffer.from('x'))
    const file: SavedEntry = { type: 'file', mode: 0o644, size: 1, mtime: '1', etag, hashes: [], partSize: 0, own: true }
    await lie([
      ['a', a], ['large', large],
      [outside, file], ['../outside2', { ...file, type: 'directory', etag: '', size: 0 }], ['gone', file],
      ['d/../../outside', { ...file, key: `${saves}d/../../outside` }]
    ])
    const report = await download(at('t1', 't/'))
    t.match(report, { files: 2, verified: 2 })
    t.strictSame(report.failed, [])
    t.strictSame(report.warnings!.map(({ path, code }) => `${path}: ${code}`), ['../outside: KEY_UNSAFE'])
    t.equal(await readFile(join(root, 't1', 'a'), 'utf8'), 'aaa')
    t.strictSame((await readdir(root)).filter((name) => name.startsWith('outside')), [])

    await lie([['a', { ...a, hashes: ['0'.repeat(64)] }], ['large', { ...large, hashes: large.hashes.map(() => '0'.repeat(64)) }]])
    const { failed, warnings } = await download(at('t0', 't/'))
    t.strictSame(failed.map(({ path, code }) => `${path}: ${code}`), ['large: CONTENT_MISMATCH'])
    t.strictSame(warnings!.map(({ path, code }) => `${path}: ${code}`), ['../outside: KEY_UNSAFE', 'a: MANIFEST_WRONG'])
    t.equal(await readFile(join(root, 't0', 'a'), 'utf8'), 'aaa', 'S3 itself says that it is whole')

    await lie([['a', { ...a, size: 99 }], ['large', { ...large, etag: 'of-another' }]])
    t.match(await download(at('t2', 't/')), { files: 2, verified: 2 })
    t.match(await upload(at('t')), { files: 0, skipped: 2 }, 'what a manifest said of other objects counts for nothing')
    await lie([['large', { ...large, key: 'a' }], ['theirs', { ...file, own: true, key: 'a' }]])
    t.match(await upload({ ...at('t'), delete: true }), { deleted: 0, files: 2 })
    t.match((await download(at('t3', 't/'))), { files: 2 })
  })

  await t.test('Objects that others change while a sync runs are named, and never mixed (2.5)', async (t) => {
    for (const path of ['a', 'gone', 'large']) await write('c', path, path === 'large' ? Buffer.alloc(20_000_000, 'x') : path)
    await upload(at('c'))
    const { store } = at('c')
    class Changing extends ObjectStore {
      override async * list (start?: string) {
        yield * super.list(start)
        await store.put('a', Buffer.from('of others'))
        await store.put('large', Buffer.alloc(20_000_000, 'y'))
        await store.delete(['gone'])
      }
    }
    const changing = storeAt('c/', { Store: Changing })
    const report = await download({ ...at('c1', 'c/'), store: changing })
    t.strictSame(report.failed.map(({ path, code }) => `${path} ${code}`).sort(), ['a PreconditionFailed', 'gone NoSuchKey', 'large PreconditionFailed'])
    t.strictSame(await readdir(join(root, 'c1')), [], 'and half a file is no file')
    t.match(await download(at('c1', 'c/')), { files: 2, verified: 2, failed: { length: 0 } })
    t.equal(await readFile(join(root, 'c1', 'a'), 'utf8'), 'of others')
    t.match(await upload({ ...at('c'), store: changing }), { failed: { length: 0 } }, 'an upload stores its own')
    t.match(await download(at('c2', 'c/')), { failed: { length: 0 } })
  })

  await t.test('A manifest that lies or is missing costs time and nothing else', async (t) => {
    await write('m', 'a', 'aaa')
    await write('m', 'b', 'bbb')
    await upload(at('m'))
    const { store } = at('m')
    await store.put('a', Buffer.from('changed by others'))
    t.match(await upload(at('m')), { files: 1, skipped: 1 }, 'what others changed is noticed')
    await store.put('.modal-sandbox/manifest.gz', Buffer.from('nonsense'))
    t.match(await upload(at('m')), { files: 2, skipped: 0, failed: { length: 0 } })
    await store.delete(['.modal-sandbox/manifest.gz'])
    t.match(await download({ ...at('n', 'm/') }), { files: 2, verified: 2, failed: { length: 0 } })
    t.match(await download({ ...at('n', 'm/') }), { files: 0, skipped: 2 }, 'and what was learned is kept')
  })

  await t.test('Deletes only its own, and only when asked; never everything', async (t) => {
    await write('d', 'mine', '1')
    await write('d', 'sub/other', '2')
    await upload(at('d'))
    const { store } = at('d')
    await store.put('theirs', Buffer.from('x'))
    await rm(join(root, 'd', 'mine'))
    t.match(await upload(at('d')), { deleted: 0 })
    t.match(await upload({ ...at('d'), delete: true }), { deleted: 1 })
    const keys = []
    for await (const page of store.list()) keys.push(...page.map(({ key }) => key))
    t.strictSame(keys.filter((key) => !key.startsWith('.')), ['sub/other', 'theirs'])
    await rm(join(root, 'd', 'sub'), { recursive: true })
    await t.rejects(upload({ ...at('d'), delete: true }), { code: 'SYNC_REFUSED', message: /empty/ })
    await rm(join(root, 'd'), { recursive: true })
    await t.rejects(upload(at('d')), { code: 'SYNC_REFUSED', message: /missing/ })
  })

  await t.test('Deleting on download takes only files that are as they were stored', async (t) => {
    await write('e', 'a', 'a')
    await write('e', 'b', 'b')
    await write('e', 'c', 'c')
    await upload(at('e'))
    await at('e').store.delete(['a', 'b'])
    await write('e', 'b', 'edited')
    t.match(await download({ ...at('e'), delete: true }), { deleted: 1, skipped: 1 })
    await t.rejects(lstat(join(root, 'e', 'a')))
    t.equal(await readFile(join(root, 'e', 'b'), 'utf8'), 'edited')
  })

  await t.test('A file that keeps changing is reported, never stored torn; uploads of it leave nothing behind', async (t) => {
    await write('g', 'still', 'x')
    await write('g', 'large', Buffer.alloc(9_000_000))
    const timer = setInterval(() => { truncate(join(root, 'g', 'large'), 9_000_000 + Math.floor(Math.random() * 1000)) }, 5)
    const report = await upload(at('g'))
    clearInterval(timer)
    t.match(report, { files: 1, failed: [{ path: 'large', code: 'CHANGED' }] })
    t.strictSame(await at('g').store.pendingUploads(), [])
    t.match(await upload(at('g')), { files: 1, skipped: 1, failed: { length: 0 } }, 'the next sync takes it')
  })

  await t.test('Uploads that nobody completed are cleaned up', async (t) => {
    await write('u', 'large', Buffer.alloc(9_000_000))
    const { store } = at('u')
    const dead = await store.startUpload('large', {})
    await dead.putPart(1, Buffer.alloc(5 * 1024 * 1024))
    await (await store.startUpload('of-others', {})).putPart(1, Buffer.alloc(5 * 1024 * 1024))
    await upload(at('u'))
    t.match(await store.pendingUploads(), [{ key: 'of-others' }])
  })

  await t.test('Rules of .syncignore and ours leave files out, and say so', async (t) => {
    await write('i', '.syncignore', 'node_modules/\n*.log\n!keep.log\n!/.claude-sandbox/.credentials.json\n')
    for (const path of ['node_modules/x', 'a.log', 'keep.log', 'src/b.log', 'src/c', '.claude-sandbox/.credentials.json']) await write('i', path, path)
    await utimes(join(root, 'i', 'src/c'), 1, 1)
    await chmod(join(root, 'i', 'src'), 0o700)
    await symlink('nowhere', join(root, 'i', 'link'))
    const report = await upload(at('i'))
    t.match(report, { files: 4, failed: { length: 0 } })
    t.equal(report.ignored, 5)
    t.match(await download({ ...at('j', 'i/') }), { files: 4, verified: 4 })
    t.equal(await readFile(join(root, 'j', 'src/c'), 'utf8'), 'src/c')
    await t.rejects(lstat(join(root, 'j', 'a.log')))
  })
})
