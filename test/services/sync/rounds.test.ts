import { execFile } from 'node:child_process'
import { mkdir, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import t, { type Test } from 'tap'
import type { SyncReport } from '../../../schemas/sync.js'
import { download } from '../../../services/sync/download.js'
import { S3Error } from '../../../services/sync/s3/errors.js'
import { ObjectStore } from '../../../services/sync/s3/object-store.js'
import { upload } from '../../../services/sync/upload.js'
import { randomFaults, randomNumbers, startFaultProxy, type Fault } from '../../helpers/fault-proxy.js'
import { LocalWorkspace } from '../../helpers/local-workspace.js'
import { noRclone, rcloneCheck, rcloneNames } from '../../helpers/rclone.js'
import { noS3, startS3 } from '../../helpers/s3.js'
import { describeTree, differences, incompleteUploads, readBucket, treeProgram, type Tree } from '../../helpers/trees.js'

const run = promisify(execFile)
const { runTree } = await import(treeProgram)
const rounds = Number(process.env.SYNC_ROUNDS ?? 3)
const firstSeed = Number(process.env.SYNC_SEED ?? 1)
/** Rounds mostly wait; each lane has a bucket, directories and a network of its own. */
const lanes = Math.min(rounds, 4)

t.test('Nothing is lost between a directory and S3, whatever the network does (2.5, 3.5)', { skip: noS3 }, async (t) => {
  const s3 = await startS3()
  const folder = await mkdtemp(join(tmpdir(), 'sync-rounds-'))
  const prefix = 'acct/ü +/'
  t.teardown(async () => {
    await s3.close()
    await rm(folder, { recursive: true, force: true })
  })

  async function tree (task: string, directory: string, seed = 0, argument = ''): Promise<Tree> {
    await runTree(task, directory, seed, argument)
    return await describeTree(directory)
  }

  async function openLane (bucket: string) {
    const proxy = await startFaultProxy(s3.endpoint)
    t.teardown(() => proxy.close())
    const [source, target] = [join(folder, bucket, 'source'), join(folder, bucket, 'target')]
    await mkdir(target, { recursive: true })
    await s3.createBucket(bucket)
    let renewals = 0

    /** The report, or undefined when the sync as a whole failed because of S3. */
    async function sync (direction: 'upload' | 'download', options: { delete?: boolean } = {}): Promise<SyncReport | undefined> {
      const store = new ObjectStore({
        bucket,
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
        if (error instanceof S3Error) return
        throw error
      } finally {
        store.close()
      }
    }
    return { bucket, proxy, source, target, sync, renewals: () => renewals }
  }

  await t.test('Every fault is what it says', async (t) => {
    const { proxy } = await openLane('faults')
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
    const { proxy, source, sync, renewals } = await openLane('expiring')
    await tree('change', source, 0, '60')
    proxy.use(({ number }) => number > 8 && renewals() === 0 ? { kind: 'refused', status: 403, code: 'ExpiredToken' } : undefined)
    t.match(await sync('upload', { delete: true }), { failed: { length: 0 } })
    t.ok(renewals() > 0)
  })

  type Lane = Awaited<ReturnType<typeof openLane>>

  async function uploadRound (t: Test, lane: Lane, seed: number, random: () => number): Promise<Tree> {
    const { bucket, proxy, source, sync } = lane
    const same = (found: string[], message: string) => t.strictSame(found, [], `round ${seed}: ${message}`)
    // Enough for packs at first, and then what becomes of them.
    await tree('change', source, seed, seed <= firstSeed + lanes ? '150' : '25')
    proxy.use(randomFaults(random, random() * 0.15))
    // In a process of its own: it writes while the sync reads.
    const busy = run('node', [treeProgram, 'busy', source, String(seed), '600'])
    const first = await sync('upload', { delete: random() < 0.5 })
    await busy
    const before = await describeTree(source)
    if (first !== undefined) {
      const except = [...first.failed.map(({ path }) => path), 'busy']
      const stored = await readBucket(s3.client, bucket, prefix)
      same(differences(before, stored, { except, plain: true }), 'what is said to be stored is')
    }
    proxy.use()
    const second = await sync('upload', { delete: true })
    t.strictSame(second?.failed, [], `round ${seed}: the next upload completes`)
    const stored = await readBucket(s3.client, bucket, prefix)
    same(differences(before, stored, { plain: true }), 'everything is stored')
    same(differences(stored, before), 'and nothing else')
    same(await incompleteUploads(s3.client, bucket), 'no upload is left open')
    if (noRclone) return before
    const expected = { same: rcloneNames(before, 'file'), other: [], onlyHere: [], onlyThere: rcloneNames(before, 'symlink') }
    const checked = await rcloneCheck(s3, source, `${bucket}/${prefix.slice(0, -1)}`)
    t.strictSame(checked, expected, `round ${seed}: rclone sees the same`)
    return before
  }

  async function downloadRound (t: Test, lane: Lane, seed: number, random: () => number, before: Tree) {
    const { proxy, target, sync } = lane
    const same = (found: string[], message: string) => t.strictSame(found, [], `round ${seed}: ${message}`)
    await tree('damage', target, -seed, '5')
    if (random() < 0.3) await tree('clear', target)
    const found = await describeTree(target)
    proxy.use(randomFaults(random, random() * 0.15))
    const first = await sync('download')
    if (first !== undefined) {
      const except = first.failed.map(({ path }) => path)
      same(differences(before, await describeTree(target), { except, times: true }), 'what is said to be restored is')
    }
    proxy.use()
    const inTheWay = obstructed(before, found)
    if (inTheWay.length > 0) {
      const failed = (await sync('download'))?.failed.map(({ path, code }) => `${path}: ${code}`)
      const expected = inTheWay.map((path) => `${path}: DIRECTORY_IN_THE_WAY`)
      t.strictSame(failed?.sort(), expected.sort(), `round ${seed}: what is in the way is named`)
      for (const path of inTheWay) await rm(join(target, path), { recursive: true })
    }
    const second = await sync('download')
    t.strictSame(second?.failed, [], `round ${seed}: the next download completes`)
    same(differences(before, await describeTree(target), { times: true }), 'everything is restored')
  }

  await t.test(`${rounds} rounds each way`, async (t) => {
    if (noRclone) t.comment(noRclone)
    const counts = new Map<string, number>()
    await Promise.all(Array.from({ length: lanes }, async (_, index) => {
      const lane = await openLane(`lane${index}`)
      for (let seed = firstSeed + index; seed < firstSeed + rounds; seed += lanes) {
        const random = randomNumbers(seed)
        await downloadRound(t, lane, seed, random, await uploadRound(t, lane, seed, random))
      }
      for (const [fault, count] of lane.proxy.counts) counts.set(fault, (counts.get(fault) ?? 0) + count)
    }))
    t.comment(`faults: ${JSON.stringify(Object.fromEntries(counts))}`)
  })
})

/** Where a file has to be and a directory is that is not empty. */
function obstructed (wanted: Tree, found: Tree): string[] {
  const files = [...found].filter(([, { type }]) => type !== 'directory').map(([path]) => path)
  const places = [...wanted].filter(([, { type }]) => type !== 'directory').map(([path]) => path)
  return places.filter((path) => found.get(path)?.type === 'directory' && files.some((file) => file.startsWith(`${path}/`)))
}
