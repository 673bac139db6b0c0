import { writeFileSync } from 'node:fs'
import { mkdir, mkdtemp, rename, rm, utimes, writeFile } from 'node:fs/promises'
import { execFileSync } from 'node:child_process'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { digest } from '../../../lib/ids.js'
import { download } from '../../../services/sync/download.js'
import { ObjectStore } from '../../../services/sync/s3/object-store.js'
import { upload } from '../../../services/sync/upload.js'
import { startFaultProxy, type Chooser } from '../../helpers/fault-proxy.js'
import { LocalWorkspace } from '../../helpers/local-workspace.js'
import { AgentDirectory } from '../../helpers/agent-directory.js'
import { noS3, startS3 } from '../../helpers/s3.js'

const many = 90

t.test('Many small files come in a few packs, and from their own objects where those are of no use', { skip: noS3 }, async (t) => {
  const s3 = await startS3()
  const proxy = await startFaultProxy(s3.endpoint)
  const root = await mkdtemp(join(tmpdir(), 'sync-packs-'))
  t.teardown(async () => {
    await proxy.close()
    await s3.close()
    await rm(root, { recursive: true, force: true })
  })
  await s3.createBucket('work')
  const target = { bucket: 'work', region: s3.region, endpoint: proxy.endpoint, forcePathStyle: true }
  const at = (directory: string, prefix: string, Kind: typeof LocalWorkspace = LocalWorkspace) => {
    const store = new ObjectStore({ ...target, prefix, credentials: { get: async () => s3, renew () {} } })
    const workspace = new Kind(join(root, directory))
    const agentLauncher = workspace instanceof AgentDirectory ? workspace.agentLauncher : undefined
    t.teardown(async () => {
      store.close()
      await agentLauncher?.close()
    })
    return { workspace, store, prefix, agentLauncher }
  }
  const look = (directory: string) => digest(execFileSync('sh', ['-c', 'find . -type f -printf "%P %m %s %T@\n" | LC_ALL=C sort; ' +
    'find . -type f -exec sha256sum {} + | LC_ALL=C sort'], { cwd: join(root, directory) }))
  /** The keys of requests that pass while `work` goes on. */
  const requestsOf = async (method: string, work: () => Promise<unknown>, choose: Chooser = () => undefined) => {
    const keys: string[] = []
    proxy.use((request) => {
      const { pathname, searchParams } = new URL(request.url, 'http://any')
      if (request.method === method && !searchParams.has('list-type') && !searchParams.has('uploads')) keys.push(pathname)
      return choose(request)
    })
    await work()
    proxy.use()
    return keys
  }
  const packsOf = async (prefix: string) => {
    const keys: string[] = []
    for await (const page of at('', prefix).store.list('.modal-sandbox/packs/')) keys.push(...page.map(({ key }) => key))
    return keys
  }
  let time = 1e9
  const write = async (path: string, content: string) => {
    await writeFile(join(root, path), content)
    await utimes(join(root, path), time, time)
  }
  const fill = async (directory: string, mark: string, from = 0, to = many) => {
    await mkdir(join(root, directory, 'sub'), { recursive: true })
    time += 1.25
    for (let n = from; n < to; n++) await write(`${directory}/sub/${n}`, `${mark} ${n} `.repeat(20))
    await sleep(30)
  }
  await fill('a', 'first')

  for (const Kind of [LocalWorkspace, AgentDirectory]) {
    await t.test(`A request brings hundreds of them, byte for byte (${Kind.name}; 3.2, 3.5)`, async (t) => {
      const prefix = `${Kind.name}/`
      t.match(await upload(at('a', prefix, Kind)), { files: many, verified: many, failed: { length: 0 } })
      t.equal((await packsOf(prefix)).length, 1)
      t.match(await upload(at('a', prefix, Kind)), { files: 0, skipped: many })
      await rm(join(root, 'b'), { recursive: true, force: true })
      const keys = await requestsOf('GET', async () => {
        t.match(await download(at('b', prefix, Kind)), { files: many, verified: many, failed: { length: 0 } })
      })
      t.equal(keys.length, 2, 'a manifest and a pack')
      t.equal(look('b'), look('a'))
    })

    await t.test(`What a pack does not hold any more comes from its object (${Kind.name}; 3.5)`, async (t) => {
      const prefix = `${Kind.name}-liar/`
      const { store, ...from } = at('a', prefix, Kind)
      await upload({ ...from, store })
      const [key] = await packsOf(prefix)
      const { body } = await store.get(key!)
      await store.put(key!, body.fill('x', 0, body.length / 2))
      for (const spoil of [
        async () => await store.put(key!, Buffer.concat([body, body])),
        async () => await store.put(key!, Buffer.alloc(5 * 1024 * 1024)),
        async () => await store.delete([key!])
      ]) {
        await rm(join(root, 'b'), { recursive: true, force: true })
        const keys = await requestsOf('GET', async () => {
          t.match(await download(at('b', prefix, Kind)), { files: many, verified: many, failed: { length: 0 } })
        })
        t.ok(keys.length > many / 3, `${keys.length} requests`)
        t.equal(look('b'), look('a'))
        await spoil()
      }
    })

    await t.test(`A file that changes before it is packed is stored as it was (${Kind.name})`, async (t) => {
      const prefix = `${Kind.name}-changing/`
      await fill('c', 'before')
      const before = look('c')
      let stored = 0
      await requestsOf('PUT', async () => t.match(await upload(at('c', prefix, Kind)), { files: many, failed: { length: 0 } }), ({ method }) => {
        if (method === 'PUT' && ++stored === many) writeFileSync(join(root, 'c/sub/7'), 'after! 7 '.repeat(20))
        return undefined
      })
      await rm(join(root, 'b'), { recursive: true, force: true })
      const keys = await requestsOf('GET', async () => t.match(await download(at('b', prefix, Kind)), { files: many, failed: { length: 0 } }))
      t.match(keys, ['', '', /sub\/7$/].map((key) => key === '' ? String : key))
      t.equal(look('b'), before)
    })
  }

  await t.test('What a pack has is not packed again, whatever it is called now; what is left of one goes into a new one', async (t) => {
    const prefix = 'moving/'
    await fill('d', 'first')
    await upload(at('d', prefix))
    const [first] = await packsOf(prefix)
    await rename(join(root, 'd/sub'), join(root, 'd/moved'))
    t.match(await upload({ ...at('d', prefix), delete: true }), { files: many, deleted: many })
    t.strictSame(await packsOf(prefix), [first])
    await rename(join(root, 'd/moved'), join(root, 'd/sub'))
    await upload({ ...at('d', prefix), delete: true })
    await fill('d', 'second', 0, many / 3)
    await upload(at('d', prefix))
    t.equal((await packsOf(prefix)).length, 2)
    await fill('d', 'third', many / 3, many * 2 / 3)
    await upload(at('d', prefix))
    const packs = await packsOf(prefix)
    t.equal(packs.length, 2, 'the second one and a new one')
    t.notOk(packs.includes(first!))
    const keys = await requestsOf('GET', async () => t.match(await download(at('e', prefix)), { files: many, failed: { length: 0 } }))
    t.equal(keys.length, 3)
    t.equal(look('e'), look('d'))
    await rm(join(root, 'd/sub'), { recursive: true })
    await write('d/only', 'one')
    await upload({ ...at('d', prefix), delete: true })
    t.strictSame(await packsOf(prefix), [], 'nobody needs them')
  })

  for (const Kind of [LocalWorkspace, AgentDirectory]) {
    await t.test(`What an upload deletes or replaces is in no pack any more (${Kind.name})`, async (t) => {
      const prefix = `${Kind.name}-deleted/`
      const objectsWith = async (text: string) => {
        const found: string[] = []
        const { store } = at('p', prefix)
        for await (const page of store.list()) {
          await Promise.all(page.map(async ({ key }) => {
            if ((await store.get(key)).body.includes(text)) found.push(key.replace(/[0-9a-f]{64}/, 'hash'))
          }))
        }
        return found.sort()
      }
      await fill('p', 'all of it')
      for (const path of ['deleted', 'replaced']) await write(`p/sub/${path}`, `what ${path} said`)
      await upload(at('p', prefix, Kind))
      const pack = '.modal-sandbox/packs/hash.pack'
      t.strictSame(await objectsWith('what deleted said'), [pack, 'sub/deleted'])
      await rm(join(root, 'p/sub/deleted'))
      await fill('p', 'more', 1, 2)
      await write('p/sub/replaced', 'something else')
      t.match(await upload(at('p', prefix, Kind)), { files: 2, deleted: 0 })
      t.strictSame(await objectsWith('what deleted said'), [pack, 'sub/deleted'], 'without delete nothing is removed')

      t.match(await upload({ ...at('p', prefix, Kind), delete: true }), { files: 0, deleted: 1, failed: { length: 0 } })
      t.strictSame(await objectsWith('what deleted said'), [])
      t.strictSame(await objectsWith('what replaced said'), [])
      t.strictSame(await objectsWith('all of it 7 '), [pack, 'sub/7'], 'what is left is packed anew')
      const keys = await packsOf(prefix)
      t.match(await upload({ ...at('p', prefix, Kind), delete: true }), { files: 0, deleted: 0 })
      t.strictSame(await packsOf(prefix), keys, 'once')

      for (let n = 10; n < many; n++) await rm(join(root, 'p/sub', `${n}`))
      t.match(await upload({ ...at('p', prefix, Kind), delete: true }), { deleted: many - 10 })
      t.strictSame(await packsOf(prefix), [], 'few are not worth a pack')
    })
  }

  await t.test('Earlier saves keep their packs, whatever is deleted', async (t) => {
    await fill('q', 'saved')
    await upload({ ...at('q', 'saves/'), versioned: true })
    const [first] = await packsOf('saves/')
    await rm(join(root, 'q/sub/7'))
    t.match(await upload({ ...at('q', 'saves/'), versioned: true, delete: true }), { deleted: 1 })
    t.strictSame(await packsOf('saves/'), [first])
  })

  await t.test('Files with the same content share a place in a pack', async (t) => {
    await fill('r', 'first')
    for (const path of ['one', 'other']) await write(`r/${path}`, 'the same')
    await upload(at('r', 'same/'))
    const [first] = await packsOf('same/')
    await rm(join(root, 'r/other'))
    t.match(await upload({ ...at('r', 'same/'), delete: true }), { deleted: 1 })
    t.strictSame(await packsOf('same/'), [first], 'it is still in use')
    await rm(join(root, 'r/one'))
    t.match(await upload({ ...at('r', 'same/'), delete: true }), { deleted: 1 })
    t.notOk((await packsOf('same/')).includes(first!))
  })

  await t.test('Few files are not worth it', async (t) => {
    await fill('f', 'few', 0, 15)
    await upload(at('f', 'few/'))
    t.strictSame(await packsOf('few/'), [])
  })

  await t.test('A pack of which little is wanted is not fetched', async (t) => {
    await fill('g', 'all')
    await upload(at('g', 'little/'))
    await rm(join(root, 'g/sub/7'))
    const keys = await requestsOf('GET', async () => t.match(await download(at('g', 'little/')), { files: 1, skipped: many - 1 }))
    t.match(keys, [/manifest/, /sub\/7$/])
  })

  await t.test('What others have put there is packed when it is known', async (t) => {
    const { store } = at('h', 'theirs/')
    for (let n = 0; n < 40; n++) await store.put(`${n}`, Buffer.from(`theirs ${n}`))
    t.match(await download(at('h', 'theirs/')), { files: 40 })
    t.match(await upload(at('h', 'theirs/')), { files: 0, skipped: 40 })
    t.equal((await packsOf('theirs/')).length, 1)
    const keys = await requestsOf('GET', async () => t.match(await download(at('i', 'theirs/')), { files: 40 }))
    t.equal(keys.length, 2)
  })

  await t.test('Saves that are kept keep their packs', async (t) => {
    await fill('j', 'first')
    const { version } = await upload({ ...at('j', 'kept/'), versioned: true })
    const first = look('j')
    await fill('j', 'second')
    await upload({ ...at('j', 'kept/'), versioned: true })
    const keys = await requestsOf('GET', async () => await download({ ...at('k', 'kept/'), version }))
    t.equal(keys.length, 2)
    t.equal(look('k'), first)
    await download(at('k', 'kept/'))
    t.equal(look('k'), look('j'))
  })

  await t.test('An agent that dies at a pack leaves the rest to the service', async (t) => {
    const dies = (workspace: LocalWorkspace): Chooser => ({ url }) => {
      if (url.includes('/packs/')) (workspace as AgentDirectory).kill()
      return undefined
    }
    await fill('n', 'dead')
    const up = at('n', 'dead/', AgentDirectory)
    await requestsOf('PUT', async () => t.match(await upload(up), { files: many, failed: { length: 0 } }), dies(up.workspace))
    await upload(at('n', 'dead/', AgentDirectory))
    t.ok((await packsOf('dead/')).length > 0)
    const down = at('o', 'dead/', AgentDirectory)
    await requestsOf('GET', async () => t.match(await download(down), { files: many, failed: { length: 0 } }), dies(down.workspace))
    t.equal(look('o'), look('n'))
  })

  await t.test('Where packs cannot be stored, fetched or deleted all goes as well without (2.5)', async (t) => {
    const noPacks: Chooser = ({ url }) => url.includes('/packs/') ? { kind: 'refused', status: 403, code: 'AccessDenied' } : undefined
    for (const Kind of [LocalWorkspace, AgentDirectory]) {
      await fill('l', 'first')
      await requestsOf('PUT', async () => t.match(await upload(at('l', 'denied/', Kind)), { files: many, failed: { length: 0 } }), noPacks)
      t.strictSame(await packsOf('denied/'), [])
      t.match(await upload(at('l', 'denied/', Kind)), { files: 0, skipped: many }, 'it is tried again')
      t.equal((await packsOf('denied/')).length, 1)
      await rm(join(root, 'm'), { recursive: true, force: true })
      await requestsOf('GET', async () => t.match(await download(at('m', 'denied/', Kind)), { files: many, failed: { length: 0 } }), noPacks)
      t.equal(look('m'), look('l'))
      await fill('l', 'second')
      const noDeletes: Chooser = ({ url }) => url.includes('?delete') ? { kind: 'refused', status: 403, code: 'AccessDenied' } : undefined
      await requestsOf('POST', async () => t.match(await upload(at('l', 'denied/', Kind)), { files: many, failed: { length: 0 } }), noDeletes)
      t.equal((await packsOf('denied/')).length, 2)
      await rm(join(root, 'l/sub/1'))
      await upload({ ...at('l', 'denied/', Kind), delete: true })
      t.equal((await packsOf('denied/')).length, 1, 'a later sync finds what is left')
      await at('l', 'denied/').store.delete([...await packsOf('denied/'), '.modal-sandbox/manifest.gz'])
    }
  })
})
