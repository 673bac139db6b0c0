import { chmod, lstat, mkdir, mkdtemp, readdir, rm, truncate, utimes, writeFile } from 'node:fs/promises'
import { execFileSync } from 'node:child_process'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { digest } from '../../../../lib/ids.js'
import { download } from '../../../../services/sync/download.js'
import { S3Error } from '../../../../services/sync/s3/errors.js'
import { S3Http } from '../../../../services/sync/s3/http.js'
import type { SyncOptions } from '../../../../services/sync/options.js'
import { ObjectStore } from '../../../../services/sync/s3/object-store.js'
import { IncomingFile } from '../../../../services/sync/transfer/agent-download.js'
import { bufferFile, openFile } from '../../../../services/sync/transfer/agent-upload.js'
import { AgentUnavailable, LocalFileError, retryExchange } from '../../../../services/sync/transfer/agent.js'
import { upload } from '../../../../services/sync/upload.js'
import { AgentDirectory } from '../../../helpers/agent-directory.js'
import { randomFaults, randomNumbers, startFaultProxy } from '../../../helpers/fault-proxy.js'
import { LocalWorkspace } from '../../../helpers/local-workspace.js'
import { noS3, startS3 } from '../../../helpers/s3.js'
import { incompleteUploads } from '../../../helpers/trees.js'

const mebi = 1024 ** 2

t.test('Files go to S3 and back without passing through the service', { skip: noS3 }, async (t) => {
  const s3 = await startS3()
  const proxy = await startFaultProxy(s3.endpoint)
  const root = await mkdtemp(join(tmpdir(), 'agent-'))
  t.teardown(async () => {
    await proxy.close()
    await s3.close()
    await rm(root, { recursive: true, force: true })
  })
  await s3.createBucket('work')
  const target = { bucket: 'work', region: s3.region, endpoint: proxy.endpoint, forcePathStyle: true, idleMs: 2000 }
  const at = (directory: string, prefix: string, node?: string) => {
    const store = new ObjectStore({ ...target, prefix, credentials: { get: async () => s3, renew () {} } })
    t.teardown(() => store.close())
    const workspace = new AgentDirectory(join(root, directory), node)
    return { workspace, store, prefix, agentLauncher: workspace.agentLauncher }
  }
  const sync = async (work: typeof upload, where: SyncOptions) => {
    try {
      return await work(where)
    } finally {
      await where.agentLauncher?.close()
    }
  }
  const describe = (directory: string) => execFileSync('sh', ['-c', 'find . -mindepth 1 -type f -printf "%P %m %s %TY%Tm%Td%TH%TM%TS\n" | LC_ALL=C sort; ' +
    'find . -type f -exec md5sum {} + | LC_ALL=C sort'], { cwd: join(root, directory), encoding: 'utf8' })
  /** Node.js sets no finer times. */
  const micro = (description: string) => description.replace(/(\.\d{6})\d{4}$/gm, '$1')
  const isPresigned = ({ url }: { url: string }) => url.includes('X-Amz-Signature')
  const write = async (path: string, content: string | Buffer) => await writeFile(join(root, path), content)
  const noise = (size: number) => Buffer.alloc(size, 'some bytes ')

  await mkdir(join(root, 'a', 'sub', 'deep'), { recursive: true })
  await write('a/large', noise(20 * mebi + 5))
  await write('a/nothing', '')
  for (const name of ['line\nbreak', 'ünï \'"\\+%#?&', 'separator\u2028', 'x']) await write(`a/sub/deep/${name}`, `${name} ${noise(70_000)}`)
  for (let n = 0; n < 12; n++) await write(`a/sub/${n}`, `content of ${n}`)
  await chmod(join(root, 'a', 'sub', '7'), 0o750)
  await utimes(join(root, 'a', 'large'), 1, 1)

  await t.test('Whatever their names, sizes, modes and times are (2.1, 3.2, 3.5)', async (t) => {
    let presigned = 0
    proxy.use((request) => { if (isPresigned(request)) presigned++; return undefined })
    const up = at('a', 'one/')
    t.match(await sync(upload, up), { files: 18, verified: 18, failed: { length: 0 } })
    t.equal(up.workspace.streamed, 0)
    t.equal(presigned, 17 + 3, 'a request a file, and one a part')
    t.match(await sync(upload, up), { files: 0, skipped: 18 }, 'what it has stored is what it takes for stored')
    presigned = 0
    t.match(await sync(download, at('b', 'one/')), { files: 18, verified: 18, failed: { length: 0 } })
    t.equal(presigned, 17 + 3)
    t.equal(micro(describe('b')), micro(describe('a')), 'to the microsecond')
    t.strictSame(await incompleteUploads(s3.client, 'work'), [])
    const mtime = (await lstat(join(root, 'b', 'large'))).mtimeMs
    t.equal(mtime, 1000)
  })

  await t.test('What others have put there, too', async (t) => {
    const { store } = at('c', 'foreign/')
    await store.put('middle', noise(mebi), { mode: '0100640' })
    await store.put('small', noise(10))
    const upload = await store.startUpload('large', { mtime: '5' })
    await upload.putPart(1, noise(8 * mebi))
    await upload.putPart(2, noise(mebi))
    await upload.complete()
    t.match(await sync(download, at('c', 'foreign/')), { files: 3, verified: 3, failed: { length: 0 } })
    t.equal((await lstat(join(root, 'c', 'middle'))).mode & 0o777, 0o640)
    t.equal((await lstat(join(root, 'c', 'large'))).mtimeMs, 5000)
  })

  for (const [reason, node, endpoint] of [
    ['no Node.js', '/nowhere/node', undefined], ['no way to S3', process.execPath, 'http://127.0.0.1:1'],
    ['a program that is no agent', '/bin/true', undefined]
  ] as const) {
    await t.test(`All goes the other way where there is ${reason}`, async (t) => {
      const where = at('a', `${reason}/`, node)
      if (endpoint !== undefined) {
        const agentFor = where.agentLauncher.agentFor.bind(where.agentLauncher)
        where.agentLauncher.agentFor = async (files) => await agentFor(files, { origin: endpoint })
      }
      t.match(await sync(upload, where), { files: 18, verified: 18, failed: { length: 0 } })
      t.equal(where.workspace.streamed, 18)
      await rm(join(root, 'd'), { recursive: true, force: true })
      t.match(await sync(download, at('d', `${reason}/`, node)), { files: 18, verified: 18, failed: { length: 0 } })
    })
  }

  await t.test('A presigned request that has expired, or that S3 refuses, makes them go the other way', async (t) => {
    proxy.use((request) => isPresigned(request) ? { kind: 'refused', status: 403, code: 'AccessDenied' } : undefined)
    const where = at('a', 'refused/')
    t.match(await sync(upload, where), { files: 18, verified: 18, failed: { length: 0 } })
    t.equal(where.workspace.streamed, 18)
    await rm(join(root, 'd'), { recursive: true, force: true })
    t.match(await sync(download, at('d', 'refused/')), { files: 18, verified: 18, failed: { length: 0 } })
    proxy.use()
  })

  await t.test('A presigned request is good for its key, its content and its time, and for nothing else', async (t) => {
    const http = new S3Http(target, async () => s3, 1)
    t.teardown(() => http.close())
    const body = Buffer.from('hello')
    const request = { method: 'PUT' as const, key: 'signed/a', body: { hash: digest(body), size: 5 }, headers: { 'x-amz-meta-mode': '0100644' } }
    const { url, headers: { 'content-length': length, ...headers } } = await http.presign(request, 60)
    t.equal(length, '5')
    const send = async (to: string, content: string, more: Record<string, string> = headers!) =>
      (await fetch(to, { method: 'PUT', body: content, headers: more })).status
    t.equal(await send(url, 'hellp'), 400, 'another content')
    t.equal(await send(url.replace('signed/a', 'signed/b'), 'hello'), 403, 'another key')
    t.equal(await send(url, 'hello', { ...headers, 'x-amz-meta-mode': '0104755' }), 403, 'another mode')
    t.equal((await fetch(url)).status, 403, 'another method')
    t.equal(await send(url, 'hello'), 200)
    const late = await http.presign(request, 1)
    await sleep(2100)
    t.equal(await send(late.url, 'hello'), 403, 'later')
    t.notMatch(url, s3.secretAccessKey)
  })

  await t.test('Files that change under it are never stored torn, and those that cannot be read are named', async (t) => {
    await mkdir(join(root, 'g'))
    await write('g/large', noise(17 * mebi))
    await write('g/small', noise(100_000))
    const timer = setInterval(() => {
      truncate(join(root, 'g', 'large'), 17 * mebi + Math.floor(Math.random() * 1000)).catch(() => {})
      truncate(join(root, 'g', 'small'), 100_000 + Math.floor(Math.random() * 1000)).catch(() => {})
    }, 3)
    const report = await sync(upload, at('g', 'torn/'))
    clearInterval(timer)
    t.match(report.failed.find(({ path }) => path === 'large'), { code: 'CHANGED' })
    t.equal(report.files + report.failed.length, 2, 'a small one may be lucky')
    t.strictSame(await incompleteUploads(s3.client, 'work'), [])
    t.match(await sync(upload, at('g', 'torn/')), { verified: 2, failed: { length: 0 } }, 'the next sync takes them')

    const agent = (await at('g', 'torn/').agentLauncher.agentFor([{ size: 2 ** 30 }], { origin: proxy.endpoint }))!
    t.teardown(() => agent.close())
    execFileSync('sh', ['-c', 'ln -s small link; mkfifo pipe'], { cwd: join(root, 'g') })
    t.strictSame(await Promise.all(['gone', 'pipe', 'link'].map((path) => bufferFile(agent, path, mebi))), ['GONE', 'GONE', 'CHANGED'])
    t.strictSame(await Promise.all(['gone', 'large'].map((path) => bufferFile(agent, path, mebi))), ['GONE', 'LARGE'])
    t.equal(await openFile(agent, 'gone'), 'GONE')
    const file = await openFile(agent, 'large')
    if (typeof file === 'string') throw new Error(file)
    t.equal(await file.readPart(17 * mebi, mebi), undefined, 'a part beyond its end')
    t.equal(await file.close() === undefined, false)
  })

  await t.test('An agent that dies leaves the rest to the service', async (t) => {
    const up = at('a', 'dead/')
    proxy.use((request) => { if (isPresigned(request)) up.workspace.kill(); return undefined })
    t.match(await sync(upload, up), { files: 18, verified: 18, failed: { length: 0 } })
    const down = at('e', 'dead/')
    proxy.use((request) => { if (isPresigned(request)) down.workspace.kill(); return undefined })
    t.match(await sync(download, down), { files: 18, verified: 18, failed: { length: 0 } })
    t.equal(micro(describe('e')), micro(describe('a')))
    t.strictSame(await incompleteUploads(s3.client, 'work'), [])
    proxy.use()
  })

  await t.test('A file of 50 GiB is sent in as many parts as S3 allows, a few at a time, and leaves nothing when it fails', async (t) => {
    await mkdir(join(root, 'vast'))
    await write('vast/file', '')
    await truncate(join(root, 'vast', 'file'), 50 * 1024 * mebi)
    await sleep(30)
    for (const Kind of [LocalWorkspace, AgentDirectory]) {
      let parts = 0
      let largest = 0
      proxy.use(({ method, url }) => {
        if (method !== 'PUT' || !url.includes('partNumber')) return undefined
        largest = Math.max(largest, process.memoryUsage().rss)
        return ++parts > 12 ? { kind: 'refused', status: 403, code: 'AccessDenied' } : undefined
      })
      const where = at('vast', `vast-${Kind.name}/`)
      const before = process.memoryUsage().rss
      const direct = { workspace: new LocalWorkspace(join(root, 'vast')), agentLauncher: undefined }
      t.match(await sync(upload, { ...where, ...Kind === LocalWorkspace && direct }), {
        files: 0, bytes: 0, failed: [{ path: 'file', code: 'AccessDenied' }]
      })
      t.ok(parts < 40, 'and then no more is tried')
      t.ok(largest - before < 150 * mebi, `${Math.round((largest - before) / mebi)} MiB`)
      t.strictSame(await incompleteUploads(s3.client, 'work'), [])
    }
    proxy.use()
  })

  await t.test('Bodies that are cut short, answers that are lost and refusals are noticed (2.5, 3.5)', async (t) => {
    for (const seed of [1, 2]) {
      const faults = randomFaults(randomNumbers(seed), 0.1)
      proxy.use((request) => {
        const fault = isPresigned(request) ? faults(request) : undefined
        return fault?.kind === 'stalled' ? { kind: 'truncated', at: fault.at } : fault
      })
      t.match(await sync(upload, at('a', `faults-${seed}/`)), { files: 18, verified: 18, failed: { length: 0 } })
      await rm(join(root, 'f'), { recursive: true, force: true })
      t.match(await sync(download, at('f', `faults-${seed}/`)), { files: 18, verified: 18, failed: { length: 0 } })
      t.equal(micro(describe('f')), micro(describe('a')))
    }
    proxy.use()
  })

  await t.test('What is not as it was stored is not restored; what cannot be fetched leaves nothing behind', async (t) => {
    const { store, agentLauncher } = at('h', 'again/')
    await mkdir(join(root, 'h', 'directory', 'full'), { recursive: true })
    const { etag } = await store.put('x', Buffer.from('content'))
    const agent = (await agentLauncher.agentFor([{ size: 2 ** 30 }], store))!
    t.teardown(() => agentLauncher.close())
    const incoming = (path: string, more = {}) => new IncomingFile(agent, store, { path, key: 'x', etag, size: 7, ...more })
    const attributes = { mode: 0o600, mtime: '3' }
    const hash = digest(Buffer.from('content'))
    t.match(await incoming('known').fetchAndCommit('another hash', attributes), { hash, verified: true }, 'S3 says that this is wrong')
    await rm(join(root, 'h', 'known'))
    t.match(await incoming('a/b/x').fetchAndCommit(hash, attributes), { hash, verified: true })
    t.equal((await lstat(join(root, 'h', 'a', 'b', 'x'))).mtimeMs, 3000)
    await t.rejects(incoming('none', { key: 'none' }).fetchAndCommit(hash, attributes), { name: 'S3Error' })
    await t.rejects(incoming('changed', { etag: 'another' }).fetchAndCommit(hash, attributes), { code: 'PreconditionFailed' })
    await t.rejects(incoming('directory').fetchAndCommit(hash, attributes), { name: 'LocalFileError' })
    await t.rejects(incoming('a/b/x/y').createPartial(), { name: 'LocalFileError', message: 'ENOTDIR' })
    await t.rejects(incoming('never created').commitPartial(attributes), { name: 'LocalFileError' })
    const left = incoming('left')
    await left.createPartial()
    await left.fetchPart(hash, 0, 7)
    await left.discardPartial()
    t.strictSame(await readdir(join(root, 'h')), ['a', 'directory'])
  })

  await t.test('What a download that was ended in the middle has left is never stored, and goes with the next one', async (t) => {
    const where = at('i', 'ended/')
    await mkdir(join(root, 'i', 'sub'), { recursive: true })
    await write('i/sub/.modal-sandbox-part-1-2-3', 'half of a fi')
    await write('i/kept', 'content')
    t.match(await sync(upload, where), { files: 1, ignored: 1, failed: { length: 0 } })
    t.match(await sync(download, where), { files: 0, skipped: 1, failed: { length: 0 } })
    t.strictSame(await readdir(join(root, 'i', 'sub')), [])
  })
})

t.test('An exchange is repeated as a whole: signed anew, with new credentials or the clock of S3', async (t) => {
  const prepared: string[] = []
  const store = { signal: undefined, prepareRetry: ({ kind }: S3Error) => { prepared.push(kind) } } as never
  const exchange = (...failures: Error[]) => {
    let attempts = 0
    const result = retryExchange(store, async () => {
      const error = failures[attempts++]
      if (error !== undefined) throw error
      return 'etag'
    })
    return result.then((value) => [value, attempts], (error) => [error.message, attempts])
  }
  const [expired, skewed] = ['ExpiredToken', 'RequestTimeTooSkewed'].map((code) => new S3Error(code, { status: 403 }))
  t.strictSame(await exchange(expired!, skewed!), ['etag', 3])
  t.strictSame(prepared, ['credentials', 'skew'])
  const reset = new S3Error('ECONNRESET')
  t.strictSame(await exchange(reset, reset, reset), ['ECONNRESET', 3], 'then the service sends it itself')
  t.strictSame(await exchange(new AgentUnavailable('it has ended')), ['it has ended', 1])
  t.strictSame(await exchange(new LocalFileError('ENOSPC')), ['ENOSPC', 1])
  t.strictSame(await exchange(new S3Error('NoSuchKey', { status: 404 })), ['NoSuchKey (404)', 1])
})
