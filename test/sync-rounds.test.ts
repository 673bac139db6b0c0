import { execFile } from 'node:child_process'
import { mkdtemp, mkdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import t from 'tap'
import type { SyncReport } from '../schemas/sync.js'
import { download } from '../services/sync/restore.js'
import { upload } from '../services/sync/save.js'
import { S3Fault } from '../services/sync/faults.js'
import { LocalWorkspace } from '../services/sync/local-workspace.js'
import { ObjectStore } from '../services/sync/object-store.js'
import { randomFaults, randomNumbers, startFaultProxy, type Fault } from './helpers/fault-proxy.js'
import { noS3, startS3 } from './helpers/s3.js'
import { differences, incompleteUploads, parseTree, readBucket, treeProgram, type Tree } from './helpers/trees.js'

const run = promisify(execFile)
const rounds = Number(process.env.SYNC_ROUNDS ?? 3)
const firstSeed = Number(process.env.SYNC_SEED ?? 1)
const seeds = Array.from({ length: rounds }, (_, index) => firstSeed + index)

t.test('Nothing is lost between a directory and S3, whatever the network does (2.5, 3.5)', { skip: noS3 }, async (t) => {
  const s3 = await startS3()
  const proxy = await startFaultProxy(s3.endpoint)
  const folder = await mkdtemp(join(tmpdir(), 'sync-rounds-'))
  t.teardown(async () => {
    await proxy.close()
    await s3.close()
    await rm(folder, { recursive: true, force: true })
  })
  const [source, target] = [join(folder, 'source'), join(folder, 'target')]
  await mkdir(target)
  await s3.createBucket('work')
  const prefix = 'acct/ü +/'

  async function tree (task: string, directory: string, seed = 0, argument = ''): Promise<Tree> {
    const { stdout } = await run('node', [treeProgram, task, directory, String(seed), argument], { maxBuffer: 2 ** 26 })
    return parseTree(stdout)
  }

  let renewals = 0

  /** The report, or undefined when the sync as a whole failed because of S3. */
  async function sync (direction: 'upload' | 'download', options: { delete?: boolean } = {}): Promise<SyncReport | undefined> {
    const store = new ObjectStore({
      bucket: 'work',
      prefix,
      region: s3.region,
      endpoint: proxy.endpoint,
      forcePathStyle: true,
      idleMs: 2000,
      credentials: { get: async () => s3, renew: () => { renewals++ } }
    })
    const workspace = new LocalWorkspace(direction === 'upload' ? source : target)
    try {
      return await (direction === 'upload' ? upload : download)({ workspace, store, prefix, ...options })
    } catch (error) {
      if (error instanceof S3Fault) return
      throw error
    } finally {
      store.close()
    }
  }

  await t.test('Every fault is what it says', async (t) => {
    const body = 'x'.repeat(100_000)
    const ask = async (fault: Fault, init: RequestInit = {}) => {
      proxy.use(() => fault)
      const answer = await fetch(`${proxy.endpoint}/none/none`, init)
      return { status: answer.status, text: await answer.text() }
    }
    t.match(await ask({ kind: 'refused', status: 503, code: 'SlowDown' }), { status: 503, text: '<Code>SlowDown</Code>' })
    t.match(await ask({ kind: 'slow', ms: 50 }), { status: 404, text: 'NoSuchBucket' })
    t.notMatch(await ask({ kind: 'truncated', at: 0.5 }), { text: '</Error>' }, 'a success as far as one can see')
    for (const fault of [
      { kind: 'lost' }, { kind: 'reset-response', at: 0.5 }, { kind: 'stalled', at: 0.5, ms: 50 }
    ] as Fault[]) await t.rejects(ask(fault), fault.kind)
    await t.rejects(ask({ kind: 'reset-request', at: 0.5 }, { method: 'PUT', body }), 'reset-request')
    const numbers = () => Array.from({ length: 3 }, randomNumbers(5))
    t.strictSame(numbers(), numbers(), 'the same seed, the same faults')
  })

  await t.test('Credentials that expire in the middle are renewed, and the sync goes on', async (t) => {
    await tree('change', source, 0, '20')
    proxy.use(({ number }) => number > 8 && renewals === 0 ? { kind: 'refused', status: 403, code: 'ExpiredToken' } : undefined)
    t.match(await sync('upload', { delete: true }), { failed: [] })
    t.ok(renewals > 0)
  })

  for (const seed of seeds) {
    await t.test(`round ${seed}`, async (t) => {
      const random = randomNumbers(seed)
      await tree('change', source, seed, '25')
      proxy.use(randomFaults(random, random() * 0.15))
      const busy = tree('busy', source, seed, '600')
      const first = await sync('upload', { delete: random() < 0.5 })
      const before = await busy
      const failed = first?.failed.map(({ path }) => path) ?? []
      if (first !== undefined) {
        const stored = await readBucket(s3.client, 'work', prefix)
        t.strictSame(differences(before, stored, { except: [...failed, 'busy'], plain: true }), [], 'what is said to be stored is')
      }
      proxy.use()
      const second = await sync('upload', { delete: true })
      t.strictSame(second?.failed, [], 'the next upload completes')
      const stored = await readBucket(s3.client, 'work', prefix)
      t.strictSame(differences(before, stored, { plain: true }), [], 'and everything is stored')
      t.strictSame(differences(stored, before), [], 'and nothing else')
      t.strictSame(await incompleteUploads(s3.client, 'work'), [], 'and no upload is left open')

      await tree('damage', target, -seed, '5')
      const found = await tree(random() < 0.3 ? 'clear' : 'describe', target)
      proxy.use(randomFaults(random, random() * 0.15))
      const third = await sync('download')
      if (third !== undefined) {
        const except = third.failed.map(({ path }) => path)
        t.strictSame(differences(before, await tree('describe', target), { except, times: true }), [], 'what is said to be restored is')
      }
      proxy.use()
      const inTheWay = obstructed(before, found)
      if (inTheWay.length > 0) {
        const failed = (await sync('download'))?.failed.map(({ path, code }) => `${path}: ${code}`)
        t.strictSame(failed?.sort(), inTheWay.map((path) => `${path}: DIRECTORY_IN_THE_WAY`).sort(), 'what is in the way is named')
        for (const path of inTheWay) await rm(join(target, path), { recursive: true })
      }
      const fourth = await sync('download')
      t.strictSame(fourth?.failed, [], 'the next download completes')
      t.strictSame(differences(before, await tree('describe', target), { times: true }), [], 'and everything is restored')
    })
  }
  t.comment(`faults: ${JSON.stringify(Object.fromEntries(proxy.counts))}`)
})

/** Where a file has to be and a directory is that is not empty. */
function obstructed (wanted: Tree, found: Tree): string[] {
  const isFull = (path: string) => [...found].some(([other, { type }]) => type !== 'directory' && other.startsWith(`${path}/`))
  return [...wanted].filter(([path, { type }]) => type !== 'directory' && found.get(path)?.type === 'directory' && isFull(path))
    .map(([path]) => path)
}
