import { lstat, mkdir, readdir, readFile, rm, symlink, utimes, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import type { Session } from '../../services/sync/base.js'
import { download } from '../../services/sync/download.js'
import { ObjectStore } from '../../services/sync/s3/object-store.js'
import { upload } from '../../services/sync/upload.js'
import { LocalWorkspace } from '../helpers/local-workspace.js'
import { noS3 } from '../helpers/s3.js'
import { openSyncStage } from '../helpers/sync-stage.js'

t.test('Nobody is locked out of a prefix, whatever is in it', { skip: noS3 }, async (t) => {
  const { root, storeAt } = await openSyncStage(t)
  let prefixes = 0
  const at = (name: string, prefix: string, Store = ObjectStore) =>
    ({ workspace: new LocalWorkspace(join(root, name)), store: storeAt(prefix, { Store }), prefix })
  const put = async (prefix: string, objects: Record<string, string>) => {
    const { store } = at('', prefix)
    for (const [key, body] of Object.entries(objects)) await store.put(key, Buffer.from(body))
  }
  const keysOf = async (prefix: string) => {
    const keys: string[] = []
    for await (const page of at('', prefix).store.list()) keys.push(...page.map(({ key }) => key))
    return keys.filter((key) => !key.startsWith('.modal-sandbox/'))
  }
  const content = async (path: string) => await readFile(join(root, path), 'utf8')
  const list = async (name: string) => (await readdir(join(root, name), { recursive: true })).sort()
  const settled = () => new Promise((resolve) => { setTimeout(resolve, 30) })

  const strays = ['a//b.txt', '/lead.txt', './a', 'd/../e', 'x'.repeat(300)]
  await t.test('A key that no disk can have is a warning with what to do, and all else is restored (3.1)', async (t) => {
    await put('stray/', { ...Object.fromEntries(strays.map((key) => [key, 'x'])), abc: 'file', 'abc/asd': 'in', notes: 'n', 'notes/': '', good: 'g' })
    const report = await download({ ...at('stray', 'stray/'), keepNewer: true })
    t.match(report, { failed: { length: 0 }, files: 3, verified: 3 })
    t.strictSame(report.warnings!.map(({ path }) => path).sort(), [...strays, 'abc', 'notes/'].sort(), 'each is named')
    for (const { path, message } of report.warnings!) t.match(message, /rename it or name it in \.syncignore/, path)
    t.strictSame(await list('stray'), ['abc', 'abc/asd', 'good', 'notes'])
    t.match(await upload({ ...at('stray', 'stray/'), delete: true }), { failed: { length: 0 }, deleted: 0 })
    t.strictSame((await keysOf('stray/')).sort(), [...strays, 'abc', 'abc/asd', 'notes', 'notes/', 'good'].sort(), 'and nothing of it is gone')
    t.match(await download({ ...at('stray2', 'stray/'), keepNewer: true }), { failed: { length: 0 }, files: 3 })
  })

  await t.test('.syncignore counts for downloads: what it names is neither restored nor deleted nor warned of', async (t) => {
    await put('ignore/', { '.syncignore': 'secret/\n/abc\n', 'secret/x': 'x', abc: 'file', 'abc/asd': 'in', good: 'g' })
    const report = await download(at('ignore', 'ignore/'))
    t.match(report, { failed: { length: 0 }, warnings: { length: 0 }, files: 2, ignored: 3 })
    t.strictSame(await list('ignore'), ['.syncignore', 'good'])
    await mkdir(join(root, 'ignore', 'secret'))
    await writeFile(join(root, 'ignore', 'secret', 'mine'), 'mine')
    t.match(await download({ ...at('ignore', 'ignore/'), delete: true }), { failed: { length: 0 }, files: 0, deleted: 0 })
    t.equal(await content('ignore/secret/mine'), 'mine')
    t.match(await upload({ ...at('ignore', 'ignore/'), delete: true }), { failed: { length: 0 }, deleted: 0 })
    t.strictSame((await keysOf('ignore/')).sort(), ['.syncignore', 'abc', 'abc/asd', 'good', 'secret/x'])
  })

  interface Kind { objects: Record<string, string>, make: (path: string) => Promise<unknown>, opens: string[] }
  const kinds: Record<string, Kind> = {
    'a directory becomes a file': { objects: { 'foo/a': 'a', 'foo/b/c': 'c' }, make: (path) => writeFile(path, 'mine'), opens: ['foo'] },
    'a directory becomes a link': { objects: { 'foo/a': 'a', 'foo/b': 'b' }, make: (path) => symlink('other', path), opens: ['foo'] },
    'a marker becomes a file': { objects: { 'foo/': '' }, make: (path) => writeFile(path, 'mine'), opens: ['foo'] },
    'a marker with files becomes a file': { objects: { 'foo/': '', 'foo/a': '' }, make: (path) => writeFile(path, 'mine'), opens: ['foo'] },
    'a file becomes a directory': {
      objects: { foo: 'x' }, make: async (path) => { await mkdir(path); await writeFile(join(path, 'a'), 'mine') }, opens: ['foo', 'foo/a']
    },
    'a file becomes an empty directory': { objects: { foo: 'x' }, make: (path) => mkdir(path), opens: ['foo'] }
  }
  for (const [name, { objects, make, opens }] of Object.entries(kinds)) {
    for (const options of [{}, { delete: true }, { versioned: true }]) {
      await t.test(`What others put there changes its kind, and what is stored opens again: ${name} ${JSON.stringify(options)}`, async (t) => {
        const id = `kind${prefixes++}`
        const prefix = `${id}/`
        await put(prefix, { ...objects, keep: 'k' })
        t.match(await download({ ...at(id, prefix), keepNewer: true }), { failed: { length: 0 } })
        await rm(join(root, id, 'foo'), { recursive: true })
        await make(join(root, id, 'foo'))
        await settled()
        t.match(await upload({ ...at(id, prefix), ...options }), { failed: { length: 0 }, warnings: { length: 0 } })
        t.match(await download({ ...at(`${id}b`, prefix), keepNewer: true }), { failed: { length: 0 }, warnings: { length: 0 } })
        t.strictSame(await list(`${id}b`), [...opens, 'keep'])
        t.match(await upload({ ...at(`${id}b`, prefix), ...options }), { failed: { length: 0 }, files: 0 })
        t.match(await download({ ...at(`${id}c`, prefix), keepNewer: true }), { failed: { length: 0 } })
        t.strictSame(await list(`${id}c`), [...opens, 'keep'])
      })
    }
  }

  for (const options of [{}, { versioned: true }]) {
    await t.test(`What others have put below a file meanwhile is a conflict, and nothing is said to be stored ${JSON.stringify(options)}`, async (t) => {
      const id = `conflict${prefixes++}`
      const prefix = `${id}/`
      await put(prefix, { 'foo/a': 'a' })
      await download(at(id, prefix))
      await rm(join(root, id, 'foo'), { recursive: true })
      await writeFile(join(root, id, 'foo'), 'mine')
      await put(prefix, { 'foo/new': 'theirs' })
      await settled()
      for (const again of [1, 2]) {
        const report = await upload({ ...at(id, prefix), ...options })
        t.match(report, { files: 0, verified: 0, failed: [{ path: 'foo', code: 'KEY_CONFLICT' }] }, `${again}`)
      }
      t.strictSame(await keysOf(prefix), ['foo/a', 'foo/new'], 'all of theirs stays')
      t.match(await download(at(`${id}b`, prefix)), { failed: { length: 0 }, warnings: { length: 0 }, files: 2 })
    })
  }

  await t.test('A file that objects of others have hidden is never deleted, as the workspace did not have it', async (t) => {
    await mkdir(join(root, 'hidden'))
    await writeFile(join(root, 'hidden', 'foo'), 'mine')
    await settled()
    await upload(at('hidden', 'hidden/'))
    await put('hidden/', { 'foo/theirs': 'x' })
    t.match(await download(at('hidden2', 'hidden/')), { failed: { length: 0 }, warnings: [{ path: 'foo', code: 'KEY_CONFLICT' }] })
    t.match(await upload({ ...at('hidden2', 'hidden/'), delete: true }), { failed: { length: 0 }, deleted: 0 })
    await rm(join(root, 'hidden2', 'foo'), { recursive: true })
    await writeFile(join(root, 'hidden2', 'other'), 'x')
    await settled()
    await upload({ ...at('hidden2', 'hidden/'), delete: true })
    t.ok((await keysOf('hidden/')).includes('foo'))
  })

  await t.test('An object that no workspace has had stays, also when a newer file is kept in the place of what hid it', async (t) => {
    await put('unseen/', { foo: 'theirs', 'foo/in': 'x' })
    const [first, second] = ['sb-first', 'sb-second'].map((id) => ({ id, startedAt: Date.now() + 5000 })) as [Session, Session]
    await download({ ...at('unseen', 'unseen/'), keepNewer: true, session: first })
    await rm(join(root, 'unseen', 'foo'), { recursive: true })
    await writeFile(join(root, 'unseen', 'foo'), 'mine')
    await settled()
    for (const session of [first, second]) {
      await download({ ...at('unseen', 'unseen/'), keepNewer: true, session })
      // The second begins with what the first has stored: theirs, and the copy beside it.
      const warnings = session === first ? [{ path: 'foo', code: 'CONFLICT' }] : { length: 0 }
      t.match(await upload({ ...at('unseen', 'unseen/'), session }), { failed: { length: 0 }, warnings })
      t.equal((await at('', 'unseen/').store.get('foo')).body.toString(), 'theirs', session.id)
    }
  })

  await t.test('An object that ends in a slash and has content is told, and never overwritten', async (t) => {
    await put('marker/', { 'notes/': 'content', 'notes/in': 'x', 'alone/': 'content' })
    const report = await download(at('marker', 'marker/'))
    t.match(report, { failed: { length: 0 }, files: 1 })
    t.strictSame(report.warnings!.map(({ path, code }) => `${path} ${code}`), ['alone/ DIRECTORY_WITH_CONTENT', 'notes/ DIRECTORY_WITH_CONTENT'])
    await mkdir(join(root, 'marker', 'alone'), { mode: 0o700 })
    const stored = await upload({ ...at('marker', 'marker/'), delete: true })
    t.match(stored, { failed: { length: 0 }, warnings: [{ path: 'alone/' }] })
    for (const key of ['notes/', 'alone/']) t.equal((await at('', 'marker/').store.get(key)).body.toString(), 'content', key)
    t.match(await download(at('marker2', 'marker/')), { failed: { length: 0 } })
    t.strictSame(await list('marker2'), ['alone', 'notes', 'notes/in'])
  })

  await t.test('A directory that S3 turned into a file is replaced by a download that deletes, the first time', async (t) => {
    await mkdir(join(root, 'turned', 'foo', 'deep'), { recursive: true })
    for (const path of ['foo/a', 'foo/deep/b', 'keep']) await writeFile(join(root, 'turned', path), path)
    await settled()
    await upload(at('turned', 'turned/'))
    await at('', 'turned/').store.delete(['foo/a', 'foo/deep/b'])
    await put('turned/', { foo: 'a file now' })
    t.match(await download(at('turned', 'turned/')), { failed: [{ path: 'foo', code: 'DIRECTORY_IN_THE_WAY' }] }, 'not unasked')
    t.match(await download({ ...at('turned', 'turned/'), delete: true }), { failed: { length: 0 }, deleted: 2, files: 1 })
    t.equal(await content('turned/foo'), 'a file now')
  })

  await t.test('A new sandbox on a volume begins, though S3 has a file where its directory is', async (t) => {
    await mkdir(join(root, 'volume', 'foo'), { recursive: true })
    await writeFile(join(root, 'volume', 'foo', 'a'), 'mine')
    await utimes(join(root, 'volume', 'foo', 'a'), 1000, 1000)
    await put('volume/', { foo: 'theirs' })
    const report = await download({ ...at('volume', 'volume/'), keepNewer: true })
    t.match(report, { failed: { length: 0 }, warnings: [{ path: 'foo', code: 'DIRECTORY_IN_THE_WAY' }] })
    t.equal(await content('volume/foo/a'), 'mine')
    t.match(await upload(at('volume', 'volume/')), { failed: { length: 0 } })
    t.equal((await at('', 'volume/').store.get('foo')).body.toString(), 'theirs', 'and theirs stays')
  })

  await t.test('An object that says it is a symlink and cannot be one is restored as a file', async (t) => {
    const { store } = at('', 'links/')
    for (const [key, body] of Object.entries({ empty: '', long: 'x'.repeat(5000), nul: 'a\0b', good: 'target' })) {
      await store.put(key, Buffer.from(body), { mode: '0120777' })
    }
    t.match(await download({ ...at('links', 'links/'), keepNewer: true }), { files: 4, verified: 4, failed: { length: 0 } })
    t.equal(await content('links/nul'), 'a\0b')
    t.equal((await lstat(join(root, 'links', 'good'))).isSymbolicLink(), true)
    t.match(await upload(at('links', 'links/')), { files: 0, skipped: 4, failed: { length: 0 } })
    t.match(await download({ ...at('links2', 'links/'), keepNewer: true }), { files: 4, failed: { length: 0 } })
  })
})
