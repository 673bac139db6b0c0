import { chmod, mkdir, readdir, readFile, rm, stat, utimes, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import type { SyncReport } from '../../../schemas/sync.js'
import { download } from '../../../services/sync/download.js'
import { upload } from '../../../services/sync/upload.js'
import { startFaultProxy } from '../../helpers/fault-proxy.js'
import { LocalWorkspace } from '../../helpers/local-workspace.js'
import { noS3 } from '../../helpers/s3.js'
import { openSyncStage } from '../../helpers/sync-stage.js'

/** An empty array as a pattern matches every array. */
const none = { length: 0 }

t.test('Two sandboxes with one prefix in S3', { skip: noS3 }, async (t) => {
  const { s3, root, storeAt } = await openSyncStage(t)
  const proxy = await startFaultProxy(s3.endpoint)
  t.teardown(() => proxy.close())
  const startedAt = Date.now()
  let prefixes = 0

  /** Sandboxes with one prefix, each with a directory of its own or on a volume; `begin` fills one as a create does. */
  function onePrefix () {
    const prefix = `p${++prefixes}/`
    const storeFor = (endpoint = s3.endpoint) => storeAt(prefix, { endpoint })
    const begin = async (name: string, volume = name) => {
      const directory = join(root, prefix, volume)
      await mkdir(directory, { recursive: true })
      const session = { id: `sb-${name}`, startedAt }
      const workspace = new LocalWorkspace(directory)
      const at = (endpoint?: string) => ({ workspace, store: storeFor(endpoint), prefix, session })
      const sandbox = {
        save: async (options: { delete?: boolean, versioned?: boolean, isLast?: boolean, endpoint?: string } = {}) =>
          await upload({ ...at(options.endpoint), ...options }),
        load: async () => await download(at()),
        write: async (path: string, text: string) => {
          await mkdir(join(directory, path, '..'), { recursive: true })
          await writeFile(join(directory, path), text)
          // Past the time in which a change might leave no trace.
          await new Promise((resolve) => { setTimeout(resolve, 30) })
        },
        read: async (path: string) => await readFile(join(directory, path), 'utf8'),
        touch: async (path: string, time: number) => { await utimes(join(directory, path), time, time) },
        mode: async (path: string) => (await stat(join(directory, path))).mode & 0o7777,
        chmod: async (path: string, mode: number) => { await chmod(join(directory, path), mode) },
        remove: async (path: string) => { await rm(join(directory, path), { recursive: true }) },
        files: async () => {
          const found = await readdir(directory, { recursive: true, withFileTypes: true })
          const files = found.filter((one) => one.isFile()).map(({ parentPath, name }) => join(parentPath, name))
          return files.map((path) => path.slice(directory.length + 1)).sort()
        }
      }
      t.match(await download({ ...at(), keepNewer: true }), { failed: none })
      return sandbox
    }
    return { begin, store: storeFor() }
  }

  const codes = ({ warnings = [] }: SyncReport) => warnings.map(({ path, code }) => `${path}: ${code}`)
  const copy = /^notes\.conflict-sb-b-\d{8}T\d{6}Z$/

  await t.test('Of a file that both have changed both versions are kept, and named', async (t) => {
    const { begin } = onePrefix()
    const first = await begin('first')
    await first.write('notes', 'as it was')
    await first.save({ isLast: true })
    const [a, b] = [await begin('a'), await begin('b')]
    await a.write('notes', 'by a, 300 lines')
    await b.write('notes', 'by b')
    t.match(await a.save(), { files: 1, failed: none, warnings: none })
    const report = await b.save()
    t.match(report, { files: 1, verified: 1, failed: none, warnings: [{ path: 'notes', code: 'CONFLICT', message: /notes\.conflict-sb-b-/ }] })
    const c = await begin('c')
    const [, name] = await c.files() as [string, string]
    t.match(name, copy)
    t.equal(await c.read('notes'), 'by a, 300 lines')
    t.equal(await c.read(name), 'by b')

    t.match(await b.save(), { files: 0, verified: 1, warnings: [{ code: 'CONFLICT' }] }, 'once is enough')
    await b.write('notes', 'by b, again')
    t.match(await b.save({ delete: true }), { files: 1, deleted: 0, warnings: [{ code: 'CONFLICT' }] })
    await c.load()
    t.strictSame(await c.files(), ['notes', name], 'the copy keeps its name')
    t.equal(await c.read(name), 'by b, again')

    t.match(await b.load(), { failed: none, files: 2 }, 'a download takes the version of the others')
    t.equal(await b.read('notes'), 'by a, 300 lines')
    await b.write('notes', 'both')
    await b.remove(name)
    t.match(await b.save({ delete: true }), { files: 1, deleted: 1, failed: none, warnings: none }, 'and after it the conflict is settled')
  })

  await t.test('A file in the place of a directory that hid an object is stored beside it, and named', async (t) => {
    const { begin, store } = onePrefix()
    await store.put('foo', Buffer.from('theirs'))
    await store.put('foo/in', Buffer.from('x'))
    const a = await begin('a')
    await a.chmod('foo', 0o700)
    t.match(await a.save(), { failed: none, warnings: none })
    await a.remove('foo')
    await a.write('foo', 'mine')
    const message = /is stored as foo\.conflict-sb-a-/
    t.match(await a.save(), { failed: none, warnings: [{ path: 'foo', code: 'CONFLICT', message }] })
    t.equal((await store.get('foo')).body.toString(), 'theirs')
  })

  await t.test('An interrupted upload of a file in the place of a directory is completed, and opens again', async (t) => {
    const { begin } = onePrefix()
    const a = await begin('a')
    await a.write('foo/in', 'x')
    await a.write('foo/deep/in', 'x')
    await a.save()
    await a.remove('foo')
    await a.write('foo', 'a file')
    proxy.use(({ method, url }) => method === 'PUT' && url.includes('manifest.gz')
      ? { kind: 'refused', status: 403, code: 'AccessDenied' }
      : method === 'POST' && url.includes('delete') ? { kind: 'refused', status: 403, code: 'AccessDenied' } : undefined)
    await t.rejects(a.save({ endpoint: proxy.endpoint }))
    proxy.use()
    t.match(await a.save(), { failed: { length: 0 }, warnings: { length: 0 } })
    const b = await begin('b')
    t.strictSame(await b.files(), ['foo'])
  })

  await t.test('A newer file that is kept in place of what others have put there is what a later version has', async (t) => {
    const { begin, store } = onePrefix()
    const a = await begin('a')
    await a.write('notes', 'as it was')
    await a.save({ versioned: true })
    await a.write('notes', 'mine')
    await a.touch('notes', Date.now() / 1000 + 3600)
    await store.put('notes', Buffer.from('theirs'))
    const next = await begin('next', 'a')
    t.match(await next.save({ versioned: true }), { files: 1, verified: 1, failed: none })
    t.match(await next.save({ versioned: true }), { files: 0, verified: 1, failed: none })
    const b = await begin('b')
    t.equal(await b.read('notes'), 'mine')
    t.equal((await store.get('notes')).body.toString(), 'theirs')
  })

  await t.test('The volume of a sandbox that had a conflict does not overwrite the others in its next sandbox', async (t) => {
    const { begin, store } = onePrefix()
    const [a, b] = [await begin('a'), await begin('b')]
    await a.write('notes', 'by a')
    await a.save({ isLast: true })
    await b.write('notes', 'by b, later')
    t.match(await b.save({ isLast: true }), { warnings: [{ code: 'CONFLICT' }] })
    const next = await begin('next', 'b')
    t.equal(await next.read('notes'), 'by a')
    t.match(await next.files(), ['notes', copy])
    t.match(await next.save(), { files: 0, failed: { length: 0 }, warnings: { length: 0 } })
    t.equal((await store.get('notes')).body.toString(), 'by a')
  })

  await t.test('What only the other one has changed stays, and comes with the next download', async (t) => {
    const { begin } = onePrefix()
    const first = await begin('first')
    for (const path of ['a', 'b', 'same']) await first.write(path, 'as it was')
    await first.save()
    const [a, b] = [await begin('a'), await begin('b')]
    await a.write('a', 'by a')
    await a.write('new', 'of a')
    await a.save()
    await b.write('b', 'by b')
    t.match(await b.save({ delete: true }), { files: 1, kept: 1, deleted: 0, failed: none, warnings: none })
    t.match(await a.save({ delete: true }), { files: 0, kept: 1, deleted: 0, failed: none, warnings: none })
    for (const one of [a, b]) {
      t.match(await one.load(), { failed: none })
      t.strictSame(await one.files(), ['a', 'b', 'new', 'same'])
      t.strictSame([await one.read('a'), await one.read('b')], ['by a', 'by b'])
    }
    await b.remove('new')
    t.match(await b.save({ delete: true }), { deleted: 1 }, 'what it has had it may delete')
  })

  await t.test('What became a directory on one side and a file on the other is lost on none', async (t) => {
    const { begin } = onePrefix()
    const first = await begin('first')
    for (const path of ['x', 'dir/old', 'y']) await first.write(path, 'as it was')
    await first.save()
    const [a, b] = [await begin('a'), await begin('b')]
    await a.remove('x')
    await a.write('x/inside', 'by a')
    await a.write('dir/old', 'by a')
    await a.write('y', 'by a')
    await a.save({ delete: true })
    await b.write('x', 'by b')
    await b.remove('dir')
    await b.write('dir', 'a file, by b')
    await b.remove('y')
    await b.write('y/inside', 'by b')
    t.strictSame(codes(await b.save({ delete: true })).sort(), ['dir: CONFLICT', 'x: CONFLICT', 'y: CONFLICT'])
    const c = await begin('c')
    t.match(await c.files(), [
      /^dir\.conflict-sb-b-/, 'dir/old', /^x\.conflict-sb-b-/, 'x/inside', 'y/inside'
    ])
    t.match(await c.load(), { failed: none, warnings: [{ path: 'y', code: 'KEY_CONFLICT' }] }, 'the file y stays in S3')
  })

  await t.test('Both may make the same change', async (t) => {
    const { begin, store } = onePrefix()
    const [a, b] = [await begin('a'), await begin('b')]
    for (const one of [a, b]) {
      await one.write('one', 'the same')
      await one.touch('one', 1_700_000_000.5)
    }
    t.match(await a.save(), { files: 1 })
    t.match(await b.save(), { files: 0, skipped: 1, failed: none, warnings: none })
    // Without a manifest that names it, its metadata tell.
    await store.delete(['.modal-sandbox/manifest.gz'])
    t.match(await b.save(), { failed: none, warnings: none })
  })

  await t.test('An upload that was interrupted goes on, and is no conflict with itself', async (t) => {
    const { begin } = onePrefix()
    const a = await begin('a')
    for (let index = 0; index < 10; index++) await a.write(`f${index}`, 'one')
    await a.save()
    for (let index = 0; index < 10; index++) await a.write(`f${index}`, 'two!')
    // The objects are stored, and the manifest is not.
    proxy.use(({ url, method }) => method === 'PUT' && /\.modal-sandbox/.test(url) ? { kind: 'refused', status: 403, code: 'AccessDenied' } : undefined)
    await t.rejects(a.save({ endpoint: proxy.endpoint }))
    proxy.use()
    for (let index = 0; index < 10; index++) await a.write(`f${index}`, 'three')
    t.match(await a.save(), { files: 10, kept: 0, failed: none, warnings: none })
  })

  await t.test('A version has what others have stored since, too', async (t) => {
    const { begin } = onePrefix()
    const first = await begin('first')
    for (const path of ['notes', 'both']) await first.write(path, 'as it was')
    await first.save({ versioned: true })
    const [a, b] = [await begin('a'), await begin('b')]
    await a.write('of-a', 'new')
    await a.write('notes', 'by a')
    await a.save({ versioned: true })
    await b.write('of-b', 'new')
    await b.write('notes', 'by b')
    t.match(await b.save({ versioned: true }), { files: 2, deleted: 0, warnings: [{ path: 'notes', code: 'CONFLICT' }] })
    const c = await begin('c')
    t.match(await c.files(), ['both', 'notes', copy, 'of-a', 'of-b'])
    t.equal(await c.read('notes'), 'by a')
  })

  await t.test('Uploads in parts of another sandbox are left alone', async (t) => {
    const { begin, store } = onePrefix()
    const [a, b] = [await begin('a'), await begin('b')]
    const pending = await store.startUpload('large', {})
    await b.write('large', 'x')
    await b.save()
    t.equal((await store.pendingUploads()).length, 1, 'it may be on its way')
    await a.save({ isLast: true })
    await b.write('large', 'y')
    await b.save()
    t.equal((await store.pendingUploads()).length, 0, 'nobody else is left')
    await pending.abort().catch(() => {})
  })

  await t.test('Reports count the files of the user, and not what Claude keeps beside them', async (t) => {
    const { begin } = onePrefix()
    const [a, b] = [await begin('a'), await begin('b')]
    await a.write('code.js', 'x')
    const talk = '.claude-sandbox/projects/-work/conversation.jsonl'
    await a.write(talk, 'y')
    const state = '.claude-sandbox/.claude.json'
    await a.write(state, '{}')
    t.match(await a.save(), { files: 1, bytes: 4, verified: 1, skipped: 0 })
    t.match(await a.save(), { files: 0, verified: 1, skipped: 1 })
    t.match(await b.load(), { files: 1, bytes: 4, verified: 1, skipped: 0 })
    for (const one of [a, b]) await one.write(state, '{"counts":1}')
    await b.write(talk, 'continued in b')
    await a.write(talk, 'continued in a')
    await a.remove('code.js')
    t.match(await b.save(), { files: 0, failed: none, warnings: none })
    const report = await a.save({ delete: true })
    t.match(report, { files: 0, deleted: 1, warnings: [{ path: talk, code: 'CONFLICT' }] }, 'both conversations are kept')
  })

  await t.test('Nothing of a session is left after its last upload', async (t) => {
    const { begin, store } = onePrefix()
    const keys = async () => {
      const found: string[] = []
      for await (const page of store.list('.modal-sandbox/')) found.push(...page.map(({ key }) => key))
      return found
    }
    const a = await begin('a')
    t.strictSame(await keys(), ['.modal-sandbox/sessions/sb-a.gz'])
    await a.write('x', 'x')
    await a.save()
    await a.save({ isLast: true })
    t.strictSame(await keys(), ['.modal-sandbox/manifest.gz'])
    await a.write('x', 'y')
    t.match(await a.save(), { files: 1, warnings: none }, 'were it not the last, the manifest would tell what it has seen')
  })
  await t.test('A copy that another has edited, or that a download brought, is not overwritten by the next', async (t) => {
    const { begin } = onePrefix()
    const first = await begin('first')
    for (const path of ['edited', 'loaded']) await first.write(path, 'as it was')
    await first.save({ isLast: true })
    const [a, b] = [await begin('a'), await begin('b')]
    for (const path of ['edited', 'loaded']) {
      await a.write(path, 'by a')
      await b.write(path, 'by b, one')
    }
    await a.save()
    await b.save()
    await a.load()
    const [, edited] = await a.files() as [string, string]
    await a.write(edited, 'merged by a')
    await a.save()
    await b.write('edited', 'by b, two')
    t.match(await b.save(), { failed: none, warnings: [{ code: 'CONFLICT' }, { code: 'CONFLICT' }] })
    await b.load()
    await a.write('loaded', 'by a, two')
    await a.save()
    await b.write('loaded', 'by b, two')
    t.match(await b.save(), { failed: none, warnings: [{ path: 'loaded', code: 'CONFLICT' }] })
    const c = await begin('c')
    const contents = await Promise.all((await c.files()).map(async (path) => `${path[0]} ${await c.read(path)}`))
    t.strictSame(contents.sort(), [
      'e by a', 'e by b, two', 'e merged by a', 'l by a, two', 'l by b, one', 'l by b, two'
    ])
  })

  await t.test('Two contents of the same size and time are two', async (t) => {
    const { begin, store } = onePrefix()
    const [a, b] = [await begin('a'), await begin('b')]
    for (const [one, text] of [[a, 'aa'], [b, 'bb']] as const) {
      await one.write('unpacked', text)
      await one.touch('unpacked', 315_532_800)
      await one.write('alike', 'xx')
      await one.touch('alike', 315_532_800)
    }
    await a.save()
    t.match(await b.save(), { files: 1, skipped: 1, failed: none, warnings: { length: 1, 0: { path: 'unpacked', code: 'CONFLICT' } } })
    t.equal((await store.get('unpacked')).body.toString(), 'aa')
    t.match(await b.save(), { files: 0, skipped: 2, failed: none, warnings: { length: 1 } })
  })

  await t.test('A file that only looks like a copy stays as it is', async (t) => {
    const { begin, store } = onePrefix()
    const [a, b] = [await begin('a'), await begin('b')]
    const others = ['notes.conflict-sb-b-mine', 'notes.conflict-sb-b-20260102T030405Z']
    for (const path of ['notes', ...others]) await a.write(path, 'of a')
    await a.save()
    await b.write('notes', 'of b')
    t.match(await b.save(), { files: 1, warnings: [{ path: 'notes', code: 'CONFLICT' }] })
    for (const path of others) t.equal((await store.get(path)).body.toString(), 'of a')
  })

  await t.test('Copies of long names that begin alike are two, and no key is too long', async (t) => {
    const { begin, store } = onePrefix()
    const deep = ['0', '1', '2', '3'].map((name) => name.repeat(200)).join('/')
    const paths = [`${'x'.repeat(240)}-1`, `${'x'.repeat(240)}-2`, `${deep}/${'n'.repeat(210)}`]
    const [a, b] = [await begin('a'), await begin('b')]
    for (const path of paths) {
      await a.write(path, 'of a')
      await b.write(path, 'of b, and its own')
    }
    await a.save()
    t.match(await b.save(), { files: 3, verified: 3, failed: none, warnings: { length: 3 } })
    let copies = 0
    for await (const page of store.list()) copies += page.filter(({ key }) => key.includes('.conflict-')).length
    t.equal(copies, 3)
    t.match(await (await begin('c')).load(), { failed: none, warnings: none })
  })

  await t.test('An upload with a conflict that is interrupted again and again leaves one copy', async (t) => {
    const { begin } = onePrefix()
    const [a, b] = [await begin('a'), await begin('b')]
    await a.write('notes', 'of a')
    await b.write('notes', 'of b')
    await a.save()
    for (let round = 0; round < 2; round++) {
      proxy.use(({ url, method }) => method === 'PUT' && /\.modal-sandbox/.test(url) ? { kind: 'refused', status: 403, code: 'AccessDenied' } : undefined)
      await t.rejects(b.save({ endpoint: proxy.endpoint }))
      proxy.use()
      await new Promise((resolve) => { setTimeout(resolve, 1000) })
    }
    t.match(await b.save(), { files: 1, warnings: [{ code: 'CONFLICT' }] })
    t.match(await (await begin('c')).files(), { 0: 'notes', 1: copy, length: 2 })
  })

  await t.test('A mode that only the other one has changed is left as it is', async (t) => {
    const { begin } = onePrefix()
    const first = await begin('first')
    for (const path of ['run.sh', 'empty', 'dir/in']) await first.write(path, path === 'empty' ? '' : 'x')
    await first.save({ isLast: true })
    const [a, b] = [await begin('a'), await begin('b')]
    await a.chmod('run.sh', 0o755)
    await a.chmod('empty', 0o600)
    await a.chmod('dir', 0o700)
    await a.save()
    await a.chmod('dir', 0o711)
    t.match(await a.save(), { files: 0, kept: 0, failed: none, warnings: none }, 'it has seen what it stored itself')
    await b.write('new', 'x')
    for (let round = 0; round < 2; round++) t.match(await b.save(), { kept: 2, failed: none, warnings: none })
    t.strictSame([await b.mode('run.sh'), await b.mode('empty'), await b.mode('dir')], [0o644, 0o644, 0o755])
    await b.load()
    t.strictSame([await b.mode('run.sh'), await b.mode('empty'), await b.mode('dir')], [0o755, 0o600, 0o711])
    await b.chmod('dir', 0o755)
    await b.chmod('run.sh', 0o700)
    t.match(await b.save(), { files: 1, kept: 0, warnings: none })
    await a.load()
    t.strictSame([await a.mode('run.sh'), await a.mode('dir')], [0o700, 0o755])
  })

  await t.test('A session whose base is lost does not take what was stored since in a version for seen', async (t) => {
    const { begin, store } = onePrefix()
    const first = await begin('first')
    await first.write('notes', 'as it was')
    await first.save({ versioned: true, isLast: true })
    const [a, b] = [await begin('a'), await begin('b')]
    // Times are compared by the second.
    await new Promise((resolve) => { setTimeout(resolve, Math.max(0, startedAt + 2100 - Date.now())) })
    await a.write('notes', 'by a')
    await a.write('new', 'of a')
    await a.save({ versioned: true })
    await store.put('.modal-sandbox/sessions/sb-b.gz', Buffer.from('forged'))
    await b.write('of-b', 'x')
    t.match(await b.save({ versioned: true }), { deleted: 0, failed: none, warnings: [{ path: 'notes', code: 'CONFLICT' }] })
    const c = await begin('c')
    t.match(await c.files(), ['new', 'notes', copy, 'of-b'])
    t.equal(await c.read('notes'), 'by a')
  })

  await t.test('What rules leave out of a download is not deleted for not being there', async (t) => {
    const { begin, store } = onePrefix()
    const a = await begin('a')
    await a.write('log/x', 'x')
    await a.write('code', 'x')
    await a.save()
    await store.put('.syncignore', Buffer.from('log/'))
    const b = await begin('b')
    t.strictSame(await b.files(), ['.syncignore', 'code'])
    t.match(await b.save({ delete: true }), { deleted: 0, failed: none })
    await b.remove('code')
    t.match(await b.save({ delete: true }), { deleted: 1, failed: none })
    t.equal((await store.get('log/x')).body.toString(), 'x')
  })

  await t.test('An empty workspace may end, with delete, when all that is stored is of others', async (t) => {
    const { begin } = onePrefix()
    const [a, b] = [await begin('a'), await begin('b')]
    await a.write('x', 'x')
    await a.save()
    t.match(await b.save({ delete: true }), { deleted: 0, failed: none })
    await b.load()
    await b.remove('x')
    await t.rejects(b.save({ delete: true }), { code: 'SYNC_REFUSED' })
    t.match(await (await begin('c')).files(), ['x'])
  })

  await t.test('A last upload that has failed is not the last', async (t) => {
    const { begin } = onePrefix()
    const [a, b] = [await begin('a'), await begin('b')]
    await new Promise((resolve) => { setTimeout(resolve, Math.max(0, startedAt + 2100 - Date.now())) })
    await a.write('x', 'one')
    await a.write('y', 'one')
    proxy.use(({ url, method }) => method === 'PUT' && url.includes('/y') ? { kind: 'refused', status: 403, code: 'AccessDenied' } : undefined)
    t.match(await a.save({ isLast: true, endpoint: proxy.endpoint }), { failed: [{ path: 'y' }] })
    proxy.use()
    await b.write('z', 'one')
    await b.save()
    await a.write('x', 'two, by the same')
    t.match(await a.save({ isLast: true }), { files: 2, failed: none, warnings: none })
  })
})
