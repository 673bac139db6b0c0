import { chmod, cp, mkdir, readdir, readFile, rm, unlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { gunzipSync, gzipSync } from 'node:zlib'
import t, { type Test } from 'tap'
import { download } from '../../services/sync/download.js'
import { decodeManifest, encodeManifest } from '../../services/sync/manifest-store.js'
import type { SyncOptions } from '../../services/sync/options.js'
import { manifestKey, packOf } from '../../services/sync/s3/keys.js'
import { ObjectStore } from '../../services/sync/s3/object-store.js'
import { upload } from '../../services/sync/upload.js'
import { AgentDirectory } from '../helpers/agent-directory.js'
import { startFaultProxy, type Fault, type Seen } from '../helpers/fault-proxy.js'
import { LocalWorkspace } from '../helpers/local-workspace.js'
import { noS3 } from '../helpers/s3.js'
import { openSyncStage } from '../helpers/sync-stage.js'

/** Every request goes through the proxy. */
async function openProxied (t: Test) {
  const { s3, root, storeAt } = await openSyncStage(t, 'work')
  const proxy = await startFaultProxy(s3.endpoint)
  t.teardown(() => proxy.close())
  return { proxy, root, storeAt: (prefix: string) => storeAt(prefix, { endpoint: proxy.endpoint }) }
}

const isContent = ({ method, url }: Seen) => method === 'GET' && /\/(small|large|n\d+)\?/.test(`${url}?`)

t.test('An S3 that gives other bytes than it was given', { skip: noS3 }, async (t) => {
  const { proxy, root, storeAt } = await openProxied(t)
  const local = (name: string, prefix = 'one/'): SyncOptions =>
    ({ workspace: new LocalWorkspace(join(root, name)), store: storeAt(prefix), prefix })
  const agent = (name: string, prefix = 'one/'): SyncOptions => {
    const workspace = new AgentDirectory(join(root, name))
    return { workspace, store: storeAt(prefix), prefix, agentLauncher: workspace.agentLauncher }
  }

  await mkdir(join(root, 'a'))
  await writeFile(join(root, 'a', 'small'), 'small content')
  await writeFile(join(root, 'a', 'large'), Buffer.alloc(20_000_000, 'large '))
  t.match(await upload(local('a')), { files: 2, failed: { length: 0 } })

  for (const [name, at] of [['the service', local], ['an agent', agent]] as const) {
    const directory = name.replace(' ', '-')
    await mkdir(join(root, directory))

    await t.test(`A bit that changes every time is a failure that names the file, with ${name} (3.5)`, async (t) => {
      proxy.use((request) => isContent(request) ? { kind: 'flipped' } : undefined)
      const where = at(directory)
      const { failed } = await download(where)
      await where.agentLauncher?.close()
      t.strictSame(failed.map(({ path, code }) => [path, code]).sort(), [['large', 'CONTENT_MISMATCH'], ['small', 'CONTENT_MISMATCH']])
      t.strictSame(await readdir(join(root, directory)), [], 'and nothing of it is there')
    })

    await t.test(`A bit that changes once is fetched again, with ${name} (3.5)`, async (t) => {
      const seen = new Set<string>()
      proxy.use((request) => {
        const path = request.url.split('?')[0]!
        if (!isContent(request) || seen.has(path)) return undefined
        seen.add(path)
        return { kind: 'flipped' }
      })
      const where = at(directory)
      t.match(await download(where), { files: 2, verified: 2, failed: { length: 0 } })
      await where.agentLauncher?.close()
      t.equal(await readFile(join(root, directory, 'small'), 'utf8'), 'small content')
      t.equal(seen.size, 2)
    })

    const others = storeAt('others/')
    await others.put('small', Buffer.from('of somebody else'))
    await others.put('large', Buffer.alloc(20_000_000, 'of somebody else '))
    const empty = async (name: string) => {
      await rm(join(root, name), { recursive: true, force: true })
      await mkdir(join(root, name))
      return at(name, 'others/')
    }
    const downloadInto = async (name: string) => {
      const where = await empty(name)
      try {
        return await download(where)
      } finally {
        await where.agentLauncher?.close()
      }
    }
    const theirs = `${directory}-others`
    const bothFailed = ['large: CONTENT_MISMATCH', 'small: CONTENT_MISMATCH']
    const told = (problems: { path: string, code: string }[] = []) => problems.map(({ path, code }) => `${path}: ${code}`).sort()

    await t.test(`Where no hash is known, the ETag of an object in one piece tells, with ${name} (3.5)`, async (t) => {
      await others.delete([manifestKey])
      proxy.use((request) => isContent(request) ? { kind: 'flipped' } : undefined)
      t.strictSame(told((await downloadInto(theirs)).failed), bothFailed)
      t.strictSame(await readdir(join(root, theirs)), [])
      const seen = new Set<string>()
      proxy.use(({ method, url }) => {
        const path = url.split('?')[0]!
        if (!isContent({ method, url } as Seen) || seen.has(path)) return undefined
        // The service asks for one byte of a large object first, to learn what it is.
        if (!seen.has(`first ${path}`) && path.endsWith('large') && name === 'the service') {
          seen.add(`first ${path}`)
          return undefined
        }
        seen.add(path)
        return { kind: 'flipped' }
      })
      t.match(await downloadInto(theirs), { files: 2, verified: 2, failed: { length: 0 }, warnings: { length: 0 } }, 'a bit that changes once')
      proxy.use()
    })

    await t.test(`A forged hash locks nobody out where the ETag proves the content, with ${name} (3.5)`, async (t) => {
      const forge = async () => {
        const { state: _, ...manifest } = await decodeManifest((await others.get(manifestKey)).body)
        const entries = [...manifest.entries].map(([path, saved]) =>
          [path, { ...saved, hashes: saved.hashes.map(() => '0'.repeat(64)) }] as const)
        t.equal(entries.length, 2)
        await others.put(manifestKey, await encodeManifest({ ...manifest, entries: new Map(entries) }))
      }
      await forge()
      proxy.use((request) => isContent(request) ? { kind: 'flipped' } : undefined)
      t.strictSame(told((await downloadInto(theirs)).failed), bothFailed, 'it does not hide damage')
      proxy.use()
      const report = await downloadInto(theirs)
      t.match(report, { files: 2, verified: 2, failed: { length: 0 } })
      t.strictSame(told(report.warnings), ['large: MANIFEST_WRONG', 'small: MANIFEST_WRONG'])
      t.equal(await readFile(join(root, theirs, 'small'), 'utf8'), 'of somebody else')
      t.ok((await readFile(join(root, theirs, 'large'))).equals(Buffer.alloc(20_000_000, 'of somebody else ')))
      t.match(await downloadInto(theirs), { files: 2, verified: 2, failed: { length: 0 }, warnings: { length: 0 } }, 'the manifest is right again')
    })
  }
})

const mebi = 1024 ** 2
/** Enough of them for an agent, and for a list rather than a request for each. */
const names = Array.from({ length: 20 }, (_, n) => `n${n}`)
const isPut = ({ method, url }: Seen) => method === 'PUT' && /\/n\d+(\?|$)/.test(url)

t.test('What is not in S3 was not stored, whoever says so', { skip: noS3 }, async (t) => {
  const { proxy, root, storeAt } = await openProxied(t)
  const at = (name: string, prefix: string, node?: string) => {
    const workspace = new AgentDirectory(join(root, name), node)
    return { workspace, store: storeAt(prefix), prefix, agentLauncher: workspace.agentLauncher }
  }
  const local = (name: string, prefix: string) =>
    ({ workspace: new LocalWorkspace(join(root, name)), store: storeAt(prefix), prefix })
  const run = async (work: typeof upload, where: SyncOptions & { versioned?: boolean }) => {
    try {
      return await work(where)
    } finally {
      await where.agentLauncher?.close()
    }
  }
  const fill = async (name: string, mark: string) => {
    await mkdir(join(root, name), { recursive: true })
    for (const file of names) await writeFile(join(root, name, file), Buffer.alloc(mebi / 4, `${mark} ${file} `))
  }
  const keysOf = async (store: ObjectStore) => {
    const keys: string[] = []
    for await (const page of store.list()) keys.push(...page.map(({ key }) => key))
    return keys
  }
  const node = join(root, 'node')
  const program = fileURLToPath(new URL('../fixtures/hostile-agent.cjs', import.meta.url))
  await writeFile(node, `#!/bin/sh\nexec '${process.execPath}' '${program}' "$@"\n`)
  await chmod(node, 0o755)
  await fill('a', 'first')

  const lies: Record<string, Fault> = {
    'answers with the right ETag and stores nothing': { kind: 'pretended' },
    'answers with another ETag and stores nothing': { kind: 'pretended', etag: '"0123456789abcdef0123456789abcdef"' },
    'answers without an ETag and stores nothing': { kind: 'pretended', etag: '' },
    'answers with an empty ETag and stores nothing': { kind: 'pretended', etag: '""' },
    'answers with a success that is an error': { kind: 'refused', status: 200, code: 'AccessDenied' },
    'stores it and answers with another ETag': { kind: 'misnamed', etag: '"0123456789abcdef0123456789abcdef"' }
  }
  let count = 0
  for (const [lie, fault] of Object.entries(lies)) {
    for (const [through, open] of [['the service', local], ['an agent', at]] as const) {
      await t.test(`A server that ${lie}, to ${through}: each file has failed, and the next sync stores it (2.5)`, async (t) => {
        const prefix = `lie-${++count}/`
        proxy.use((request) => isPut(request) ? fault : undefined)
        const { files, bytes, verified, failed } = await run(upload, open('a', prefix))
        t.strictSame([files, bytes, verified], [0, 0, 0])
        t.strictSame(failed.map(({ path }) => path).sort(), names.toSorted())
        proxy.use()
        t.match(await run(upload, open('a', prefix)), { files: 20, verified: 20, failed: { length: 0 } })
      })
    }
  }

  await t.test('Where one file of many was not stored only that one has failed, asked for by itself or in a list', async (t) => {
    for (const few of [false, true]) {
      const prefix = `one-${few}/`
      if (few) await run(upload, local('a', prefix))
      if (few) for (const file of ['n3', 'n7']) await writeFile(join(root, 'a', file), `${file} `)
      proxy.use((request) => isPut(request) && /\/n7(\?|$)/.test(request.url) ? { kind: 'pretended' } : undefined)
      const report = await run(upload, local('a', prefix))
      t.match(report, { files: few ? 1 : 19, verified: 19, failed: [{ path: 'n7', code: 'NOT_STORED' }] })
      proxy.use()
      t.match(await run(upload, local('a', prefix)), { files: 1, verified: 20, failed: { length: 0 } })
    }
    await fill('a', 'first')
  })

  await t.test('A large file whose parts are never put together has failed', async (t) => {
    await mkdir(join(root, 'large'))
    await writeFile(join(root, 'large', 'n1'), Buffer.alloc(9 * mebi, 'x'))
    for (const open of [local, at]) {
      proxy.use(({ method, url }) => method === 'POST' && url.includes('uploadId') ? { kind: 'pretended', etag: '"0123456789abcdef0123456789abcdef-2"' } : undefined)
      t.match(await run(upload, open('large', `large-${open.name}/`)), { files: 0, bytes: 0, verified: 0, failed: [{ path: 'n1', code: 'NOT_STORED' }] })
      proxy.use()
      t.match(await run(upload, open('large', `large-${open.name}/`)), { files: 1, verified: 1, failed: { length: 0 } })
    }
  })

  await t.test('What was there before is kept where what replaces it was not stored', async (t) => {
    await mkdir(join(root, 'kinds'))
    await writeFile(join(root, 'kinds', 'n1'), 'a file')
    t.match(await run(upload, local('kinds', 'kinds/')), { files: 1 })
    await unlink(join(root, 'kinds', 'n1'))
    await mkdir(join(root, 'kinds', 'n1'))
    await writeFile(join(root, 'kinds', 'n1', 'n2'), 'a file in a directory')
    proxy.use((request) => isPut(request) ? { kind: 'pretended' } : undefined)
    const where = { ...local('kinds', 'kinds/'), delete: true }
    t.match(await run(upload, where), { files: 0, deleted: 0, failed: [{ path: 'n1/n2', code: 'NOT_STORED' }] })
    proxy.use()
    t.ok((await keysOf(where.store)).includes('n1'), 'the only copy')
    t.match(await run(upload, where), { files: 1, verified: 1, failed: { length: 0 } })
    t.notOk((await keysOf(where.store)).includes('n1'), 'the next sync replaces it')
  })

  await t.test('A pack that is not there is not relied on', async (t) => {
    await mkdir(join(root, 'small'))
    for (const file of names) await writeFile(join(root, 'small', file), `small ${file}`)
    proxy.use(({ method, url }) => method === 'PUT' && url.includes('/packs/') ? { kind: 'pretended' } : undefined)
    const where = local('small', 'small/')
    t.match(await run(upload, where), { files: 20, verified: 20, failed: { length: 0 } })
    proxy.use()
    const { entries } = await decodeManifest((await where.store.get(manifestKey)).body)
    t.ok([...entries.values()].every(({ packed }) => packed === undefined))
    t.match(await run(upload, where), { files: 0, skipped: 20, failed: { length: 0 } })
    t.ok((await keysOf(where.store)).some(packOf), 'the next sync makes it')
  })

  await t.test('A program of the agent that claims to have sent everything: nothing was stored, and S3 has nothing (9.3)', async (t) => {
    const report = await run(upload, at('a', 'hostile/', node))
    t.strictSame([report.files, report.bytes, report.verified], [0, 0, 0])
    t.strictSame(report.failed.map(({ path, code }) => `${path} ${code}`).sort(), names.map((name) => `${name} NOT_STORED`).sort())
    t.strictSame((await keysOf(storeAt('hostile/'))).filter((key) => key !== manifestKey), [])
  })

  for (const versioned of [false, true]) {
    await t.test(`A program that names the object that was there before${versioned ? ', in a versioned workspace' : ''}: what has changed was not stored (9.3)`, async (t) => {
      const prefix = `before-${versioned}/`
      await fill('b', 'first')
      t.match(await run(upload, { ...local('b', prefix), versioned }), { files: 20, verified: 20 })
      await cp(join(root, 'b'), join(root, 'b.before'), { recursive: true })
      await fill('b', 'other')
      const report = await run(upload, { ...at('b', prefix, node), versioned })
      t.strictSame([report.files, report.verified, report.failed.length], [0, 0, 20])
      await rm(join(root, 'c'), { recursive: true, force: true })
      t.match(await run(download, local('c', prefix)), { files: 20, verified: 20, failed: { length: 0 } }, 'what was stored before is still there')
      t.equal((await readFile(join(root, 'c', 'n1'), 'utf8')).slice(0, 8), 'first n1')
      t.match(await run(upload, { ...local('b', prefix), versioned }), { files: 20, verified: 20, failed: { length: 0 } })
    })
  }

  await t.test('The same content sent again at once is no lie', async (t) => {
    for (let again = 0; again < 3; again++) {
      for (const file of names) await chmod(join(root, 'b', file), again % 2 === 0 ? 0o600 : 0o644)
      t.match(await run(upload, local('b', 'again/')), { files: 20, verified: 20, failed: { length: 0 } })
    }
  })

  await t.test('A line of the manifest that cannot be read is told, and nothing is deleted because of it', async (t) => {
    await mkdir(join(root, 'lines'))
    for (const file of names) await writeFile(join(root, 'lines', file), `lines ${file}`)
    const where = local('lines', 'lines/')
    const damage = async (key: string) => {
      const lines = gunzipSync((await where.store.get(key)).body).toString().split('\n')
      await where.store.put(key, gzipSync(lines.map((line) => line.startsWith('["n5"') ? '["n5"' : line).join('\n')))
    }
    await run(upload, where)
    const keys = await keysOf(where.store)
    await damage(manifestKey)
    const told = [{ path: manifestKey, code: 'MANIFEST_UNREADABLE' }]
    await rm(join(root, 'd'), { recursive: true, force: true })
    const { body } = await where.store.get(manifestKey)
    t.match(await run(download, local('d', 'lines/')), { files: 20, failed: { length: 0 }, warnings: told })
    t.strictSame((await where.store.get(manifestKey)).body, body, 'a download does not make it look whole')
    for (const file of ['n1', 'n2']) await unlink(join(root, 'lines', file))
    const report = await run(upload, { ...where, delete: true })
    t.match(report, { files: 1, deleted: 0, failed: { length: 0 }, warnings: told })
    const left = await keysOf(where.store)
    t.strictSame(keys.filter((key) => !left.includes(key)), [], 'nothing is gone, packs included')
    t.match(await run(upload, { ...where, delete: true }), { files: 0, deleted: 2, failed: { length: 0 }, warnings: { length: 0 } }, 'it is whole again')
  })

  await t.test('A version of which a line cannot be read is restored, and is not called whole', async (t) => {
    await mkdir(join(root, 'version'))
    for (const file of names) await writeFile(join(root, 'version', file), `version ${file}`)
    const where = local('version', 'version/')
    const { version } = await run(upload, { ...where, versioned: true })
    const key = `.modal-sandbox/versions/${version}.gz`
    const { state: _, ...manifest } = await decodeManifest((await where.store.get(key)).body)
    const lines = gunzipSync(await encodeManifest(manifest)).toString().split('\n')
    await where.store.put(key, gzipSync(lines.filter((line) => !line.startsWith('["n5"')).join('\n')))
    const report = await download({ ...local('e', 'version/'), version })
    t.match(report, { files: 19, failed: [{ path: key, code: 'MANIFEST_UNREADABLE' }] })
  })
})
