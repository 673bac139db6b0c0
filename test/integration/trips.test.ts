import t, { type Test } from 'tap'
import { noS3, s3Settings, startS3 } from '../helpers/s3.js'
import { openTrips, paths, syncPath, type Path, type TripsStage } from '../helpers/trips.js'

const skip = process.env.TEST_LIVE === '1' && 'counts the calls that the emulator gets'
/** Much longer than what else happens between two calls: what overlaps then was asked for together. */
const delayMs = 200

t.test('Nothing that people wait for makes more calls to Modal one after the other than it has to', { skip }, async (t) => {
  const stage = await openTrips({ delayMs })
  t.teardown(stage.close)
  for (const path of paths) await check(t, stage, path)
})

t.test('Nor does a sync', { skip: skip || noS3 }, async (t) => {
  const s3 = await startS3()
  t.teardown(s3.close)
  const bucket = await s3.createBucket('trips')
  const stage = await openTrips({
    delayMs, env: { ...s3Settings(s3), S3_FORCE_PATH_STYLE: 'true' }, account: { s3: [{ bucket }] }
  })
  t.teardown(stage.close)
  await check(t, stage, syncPath(bucket))
})

async function check (t: Test, stage: TripsStage, { name, most, measure }: Path) {
  await t.test(`${name}: ${most}`, async (t) => {
    const { chain, calls } = await measure(stage)
    t.ok(chain.length > 0, 'calls are seen')
    t.ok(chain.length <= most, `${chain.length}: ${chain.join(', then ')}; of ${calls.join(', ')}`)
  })
}
