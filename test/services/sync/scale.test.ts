import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import t from 'tap'
import type { SyncReport } from '../../../schemas/sync.js'
import { download } from '../../../services/sync/download.js'
import { ObjectStore } from '../../../services/sync/s3/object-store.js'
import { upload } from '../../../services/sync/upload.js'
import { LocalWorkspace } from '../../helpers/local-workspace.js'
import { AgentDirectory } from '../../helpers/agent-directory.js'
import { noS3, startS3 } from '../../helpers/s3.js'
import { incompleteUploads } from '../../helpers/trees.js'

const files = Number(process.env.SYNC_FILES ?? 0)
const tooLong = files > 0 ? false : 'it takes minutes: SYNC_FILES=100000 runs it'
const filesPerDirectory = 200
const mebi = 1024 ** 2
/** Together more than all syncs may take, so that no content can stay in memory. */
const totalBytes = 1024 * mebi
const size = Math.floor(totalBytes / files)
/** What any sync takes; and what is known of a file until its end. */
const baseBytes = 100 * mebi
const bytesPerFile = 2 * 1024

setFlagsFromString('--expose-gc')
const collectGarbage: () => void = runInNewContext('gc')

/** Bytes that are in use: on a large machine V8 leaves some hundred MiB of garbage lying about. */
function memoryInUse (): number {
  collectGarbage()
  const { heapUsed, external } = process.memoryUsage()
  return heapUsed + external
}

t.test('Very many files go to S3 and back in bounded memory (2.4)', { skip: noS3 || tooLong, timeout: 3_600_000 }, async (t) => {
  const s3 = await startS3({ memoryMiB: 4096 })
  const root = await mkdtemp(join(tmpdir(), 'sync-scale-'))
  t.teardown(async () => {
    await s3.close()
    await rm(root, { recursive: true, force: true })
  })
  await s3.createBucket('work')
  const pathOf = (n: number) => `${Math.floor(n / filesPerDirectory)}/${n}`
  const contentOf = (n: number) => Buffer.alloc(size, `${n} `)
  for (let n = 0; n < files; n++) {
    if (n % filesPerDirectory === 0) await mkdir(join(root, 'from', pathOf(n), '..'), { recursive: true })
    await writeFile(join(root, 'from', pathOf(n)), contentOf(n))
  }

  async function sync (
    work: typeof upload | typeof download, directory: string, Kind: typeof LocalWorkspace
  ): Promise<SyncReport> {
    const prefix = `${Kind.name}/`
    const store = new ObjectStore({
      bucket: 'work',
      prefix,
      region: s3.region,
      endpoint: s3.endpoint,
      forcePathStyle: true,
      credentials: { get: async () => s3, renew () {} }
    })
    const workspace = new Kind(join(root, directory))
    const agentLauncher = workspace instanceof AgentDirectory ? workspace.agentLauncher : undefined
    let most = 0
    const watch = setInterval(() => { most = Math.max(most, memoryInUse()) }, 5000)
    try {
      return await work({ workspace, store, prefix, agentLauncher })
    } finally {
      clearInterval(watch)
      most = Math.max(most, memoryInUse())
      store.close()
      await agentLauncher?.close()
      const grown = most - before
      t.comment(`${Kind.name}, ${work.name}: ${Math.round(grown / mebi)} MiB more`)
      t.ok(grown < baseBytes + files * bytesPerFile, `${work.name} grows by ${grown} bytes`)
    }
  }

  const before = memoryInUse()
  const bytes = files * size
  // The bytes of the first pass through this process, those of the second through the agent's.
  for (const Kind of [LocalWorkspace, AgentDirectory]) {
    const stored = await sync(upload, 'from', Kind)
    t.match(stored, { files, bytes, verified: files, failed: { length: 0 } }, `stored in ${stored.durationMs} ms`)
    t.match(await sync(upload, 'from', Kind), { files: 0, skipped: files, failed: { length: 0 } }, 'nothing is sent twice')
    await mkdir(join(root, 'to'))
    const restored = await sync(download, 'to', Kind)
    t.match(restored, { files, verified: files, failed: { length: 0 } }, `restored in ${restored.durationMs} ms`)
    const odd: number[] = []
    for (let n = 0; n < files; n++) {
      if (!(await readFile(join(root, 'to', pathOf(n)))).equals(contentOf(n))) odd.push(n)
    }
    t.strictSame(odd, [], 'every byte')
    t.comment(JSON.stringify({ storedMs: stored.durationMs, restoredMs: restored.durationMs }))
    await rm(join(root, 'to'), { recursive: true })
  }
  t.strictSame(await incompleteUploads(s3.client, 'work'), [])
})
