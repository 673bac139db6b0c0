import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { download } from '../../services/sync/download.js'
import type { SyncOptions } from '../../services/sync/options.js'
import { ObjectStore } from '../../services/sync/s3/object-store.js'
import { upload } from '../../services/sync/upload.js'
import { AgentDirectory } from '../helpers/agent-directory.js'
import { startFaultProxy, type Seen } from '../helpers/fault-proxy.js'
import { LocalWorkspace } from '../helpers/local-workspace.js'
import { noS3, startS3 } from '../helpers/s3.js'

const isContent = ({ method, url }: Seen) => method === 'GET' && /\/(small|large|n\d+)\?/.test(`${url}?`)

t.test('An S3 that gives other bytes than it was given', { skip: noS3 }, async (t) => {
  const s3 = await startS3()
  const proxy = await startFaultProxy(s3.endpoint)
  const root = await mkdtemp(join(tmpdir(), 'proof-'))
  t.teardown(async () => {
    await proxy.close()
    await s3.close()
    await rm(root, { recursive: true, force: true })
  })
  await s3.createBucket('work')
  const storeAt = (prefix: string) => {
    const credentials = { get: async () => s3, renew () {} }
    const store = new ObjectStore({
      bucket: 'work', region: s3.region, endpoint: proxy.endpoint, forcePathStyle: true, prefix, credentials
    })
    t.teardown(() => store.close())
    return store
  }
  const local = (name: string): SyncOptions =>
    ({ workspace: new LocalWorkspace(join(root, name)), store: storeAt('one/'), prefix: 'one/' })
  const agent = (name: string): SyncOptions => {
    const workspace = new AgentDirectory(join(root, name))
    return { workspace, store: storeAt('one/'), prefix: 'one/', agentLauncher: workspace.agentLauncher }
  }

  await mkdir(join(root, 'a'))
  await writeFile(join(root, 'a', 'small'), 'small content')
  await writeFile(join(root, 'a', 'large'), Buffer.alloc(20_000_000, 'large '))
  t.match(await upload(local('a')), { files: 2, failed: [] })

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
      t.match(await download(where), { files: 2, verified: 2, failed: [] })
      await where.agentLauncher?.close()
      t.equal(await readFile(join(root, directory, 'small'), 'utf8'), 'small content')
      t.equal(seen.size, 2)
    })
  }
})
