// npm run build && npx tsx bench/sync.ts: a workspace to S3 and back through the whole service, as ratios to the peers
// that run on the directory itself.
// BENCH_WORKLOADS=small,large,mixed,huge  BENCH_SCALE=1  BENCH_ROUNDS=3  BENCH_S3=ceph|fast
import { execFileSync } from 'node:child_process'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { s3Client, s3Settings, startS3 } from '../test/helpers/s3.js'
import { median, openStage } from './stage.js'
import { emptyBucket } from './sync/bucket.js'
import { startFastS3 } from './sync/fast-s3.js'
import { engine, openOurs, type Proof } from './sync/ours.js'
import { findPeers, type Peer } from './sync/peers.js'

const scale = Number(process.env.BENCH_SCALE ?? 1)
const rounds = Number(process.env.BENCH_ROUNDS ?? 3)
const [kibi, mebi] = [1024, 1024 ** 2]
const many = (count: number) => Math.max(1, Math.round(count * scale))
/** Groups of files: how many, the smallest, the largest. */
const workloads: Record<string, number[]> = {
  small: [many(10_000), kibi, 8 * kibi],
  large: [1, many(2048 * mebi), many(2048 * mebi)],
  mixed: [many(2000), kibi, mebi, 2, many(256 * mebi), many(256 * mebi)],
  huge: [many(100_000), kibi, 2 * kibi]
}
const chosen = (process.env.BENCH_WORKLOADS ?? 'small,large,mixed').split(',')
const bucket = 'bench'
const kinds = ['upload', 'nothing changed', 'download'] as const

const server = process.env.BENCH_S3 === 'fast' ? await startFastS3() : await startS3({ memoryMiB: 14_000 })
const client = s3Client(server)
const folder = await mkdtemp(join(tmpdir(), 'sync-bench-'))
const stage = await openStage({
  env: { ...s3Settings(server), S3_FORCE_PATH_STYLE: 'true' },
  account: { s3: [{ bucket }] }
})
try {
  await server.createBucket(bucket)
  const peers = await findPeers(server, bucket)
  for (const name of chosen) await measure(name, workloads[name]!, peers)
} finally {
  await stage.close()
  client.destroy()
  await server.close()
  await rm(folder, { recursive: true, force: true })
}

async function measure (workload: string, tree: number[], peers: Peer[]) {
  const groups = tree.map(String)
  const [directory, back] = [join(folder, workload), join(folder, 'back')]
  const maker = fileURLToPath(new URL('sync/make-tree.js', import.meta.url))
  execFileSync(process.execPath, [maker, 'in', directory, ...groups])
  const ours = await openOurs(stage, bucket, groups)
  const bytes = sizeOf(tree)
  const bare = engine(server, bucket)
  const all = [...peers, bare, ours]
  const times = new Map(all.map(({ name }) => [name, { upload: [], 'nothing changed': [], download: [] } as Times]))
  await ours.resetPeak()
  for (let round = 0; round < rounds; round++) {
    for (const [index, peer] of all.entries()) {
      const prefix = `${workload}/${round}/${index}/`
      const mine = times.get(peer.name)!
      touchMemory(bytes)
      mine.upload.push(await peer.upload(directory, prefix))
      mine['nothing changed'].push(await peer.upload(directory, prefix))
      touchMemory(bytes)
      mine.download.push(await peer.download(prefix, back))
      await rm(back, { recursive: true, force: true })
      await emptyBucket(client, bucket)
    }
  }
  const peak = await ours.peak()
  await ours.close()
  await rm(directory, { recursive: true, force: true })
  report(workload, times, peers, peak)
  const { requests, seconds, share } = medians(bare.proofs)
  console.log(`  proof that all is stored: ${requests} requests, ${(seconds * 1000).toFixed(0)} ms, ` +
    `${(share * 100).toFixed(1)} % of the upload by the engine`)
}

function medians (proofs: Proof[]): Proof {
  const of = (name: keyof Proof) => median(proofs.map((proof) => proof[name]))
  return { requests: of('requests'), seconds: of('seconds'), share: of('share') }
}

/** Bytes of a tree, as far as they are known before it is made. */
function sizeOf (tree: number[]): number {
  let bytes = 0
  for (let at = 0; at < tree.length; at += 3) bytes += tree[at]! * (tree[at + 1]! + tree[at + 2]!) / 2
  return bytes
}

/**
 * Makes the host of a virtual machine hand out so much memory: to get back what nobody has used for some seconds takes
 * longer than to fill it, and not every peer has just freed as much as it needs.
 */
function touchMemory (bytes: number) {
  const piece = 256 * mebi
  const touch = `Array.from({ length: ${Math.ceil(bytes / piece)} }, () => Buffer.alloc(${piece}, 1))`
  execFileSync(process.execPath, ['-e', touch])
}

type Times = Record<typeof kinds[number], number[]>

function report (workload: string, times: Map<string, Times>, peers: Peer[], peak: number) {
  console.log(`\n${workload} (medians of ${rounds}; seconds, and the ratio to the faster of rclone and aws-cli)`)
  const best = Object.fromEntries(kinds.map((kind) =>
    [kind, Math.min(...peers.map(({ name }) => median(times.get(name)![kind])))]))
  for (const [name, mine] of times) {
    const cells = kinds.map((kind) => {
      const seconds = median(mine[kind])
      return `${kind} ${seconds.toFixed(2)} (${(seconds / best[kind]!).toFixed(2)}x)`
    })
    console.log(`  ${name.padEnd(34)} ${cells.join('  ')}`)
  }
  console.log(`  peak memory of the service: ${peak.toFixed(0)} MiB`)
}
