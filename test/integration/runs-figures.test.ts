import t from 'tap'
import { cancels, killRestarts, manyReaders, reconnects, resumes, stalledReader } from '../../bench/runs-scenes.js'
import { openStage } from '../helpers/stage.js'

/**
 * Each scene a few times; `tsx bench/runs.ts` has the full counts and the figures. Few readers say little about memory,
 * and a descriptor more or less is the process' own business: here only a leak of one a reader is seen.
 */
t.test('What runs promise', { skip: process.env.TEST_LIVE === '1' && 'measures on the emulator' }, async (t) => {
  const stage = await openStage({ RUN_DISCONNECT_GRACE_MS: '60000' })
  t.teardown(stage.close)

  await t.test('The service killed at random moments: no event is lost or doubled', async (t) => {
    t.equal(await killRestarts(stage, 3), 0)
  })
  await t.test('Connections cut at random: the bytes of the log', async (t) => {
    t.ok(await resumes(stage, 40, 4))
  })
  await t.test('A cancel leaves nothing alive', async (t) => {
    t.notOk((await cancels(stage, 2)).includes(Infinity))
  })
  await t.test('Readers cost little, and a stalled one not more (4.3)', async (t) => {
    const { kibPerReader } = await manyReaders(stage, 100, 2)
    t.ok(kibPerReader < 256, `${kibPerReader} KiB`)
    const more = await stalledReader(stage, 30)
    t.ok(more < 24, `${more} MiB`)
  })
  await t.test('Readers that come and go leave nothing open', async (t) => {
    const left = await reconnects(stage, 20)
    t.ok(left < 10, `${left} descriptors`)
  })
})
