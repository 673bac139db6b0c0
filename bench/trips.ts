// npm run bench:trips: how many calls to Modal each path makes one after the other, and what they cost when it is far.
import { cpus } from 'node:os'
import { startFastS3 } from './sync/fast-s3.js'
import { median } from './stage.js'
import { openTrips, paths, syncPath, type Trips } from '../test/helpers/trips.js'

/** From a service to Modal's cloud and back, in milliseconds. */
const delayMs = 60
const rounds = Number(process.env.BENCH_ROUNDS ?? 3)
const bucket = 'bench'

const s3 = await startFastS3()
const env = {
  S3_ENDPOINT_URL: s3.endpoint,
  S3_REGION: s3.region,
  S3_ACCESS_KEY_ID: s3.accessKeyId,
  S3_SECRET_ACCESS_KEY: s3.secretAccessKey,
  S3_FORCE_PATH_STYLE: 'true'
}
const all = [...paths, syncPath(bucket)]
const measured = new Map<string, { near: Trips[], far: Trips[] }>(all.map(({ name }) => [name, { near: [], far: [] }]))
for (const [kind, delay] of [['near', 0], ['far', delayMs]] as const) {
  const stage = await openTrips({ delayMs: delay, env, account: { s3: [{ bucket }] } })
  try {
    for (let round = 0; round < rounds; round++) {
      for (const { name, measure } of all) measured.get(name)![kind].push(await measure(stage))
    }
  } finally {
    await stage.close()
  }
}
await s3.close()

const { model } = cpus()[0]!
console.log(`${new Date().toISOString().slice(0, 10)}, ${cpus().length} x ${model}, Node.js ${process.version}; the calls in ` +
  `sequence are the longest chain of calls that do not overlap; of ${rounds} rounds medians, and the fastest times\n`)
console.log(`| path | calls in sequence | calls in all | ms at 0 ms a call | ms at ${delayMs} ms a call | the difference in calls |`)
console.log('|---|---|---|---|---|---|')
for (const [name, { near, far }] of measured) {
  const ms = (trips: Trips[]) => Math.min(...trips.map(({ ms }) => ms))
  const count = (what: 'chain' | 'calls') => median(far.map((trips) => trips[what].length))
  const cells = [name, count('chain'), count('calls'), ms(near).toFixed(0), ms(far).toFixed(0), ((ms(far) - ms(near)) / delayMs).toFixed(1)]
  console.log(`| ${cells.join(' | ')} |`)
}
if (process.env.BENCH_CHAINS !== undefined) {
  for (const [name, { far }] of measured) console.log(`\n${name}:\n  ${far.at(-1)!.chain.join(' > ')}\n  of ${far.at(-1)!.calls.join(' ')}`)
}
