import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { S3Error } from '../../../../services/sync/s3/errors.js'
import { transferAll, transferParts } from '../../../../services/sync/transfer/agent-schedule.js'
import { AgentUnavailable, LocalFileError } from '../../../../services/sync/transfer/agent.js'
import { defaultPartSize, maxAgentFailures } from '../../../../services/sync/transfer/limits.js'

const files = (count: number, size = 1) => Array.from({ length: count }, (_, id) => ({ id, size }))

t.test('Files that the agent could not transfer are left to the service, soon all of them', async (t) => {
  const attempt = async (list: { id: number, size: number }[], failure: (id: number) => unknown) => {
    const asked: number[] = []
    const failed: unknown[] = []
    const transfer = async ({ id }: { id: number }) => {
      asked.push(id)
      const error = failure(id)
      if (error !== undefined) throw error
      return true
    }
    const left = await transferAll<{ id: number, size: number }>(list, {
      small: transfer,
      large: transfer,
      failed: (_file, error) => { failed.push(error) }
    })
    return { asked: asked.length, left: left.length, failed }
  }
  const large = files(30, defaultPartSize + 1)
  t.same(await attempt(large, () => undefined), { asked: 30, left: 0, failed: [] })
  t.same(await attempt(large, () => new S3Error('AccessDenied', { status: 403 })), { asked: maxAgentFailures, left: 30, failed: [] })
  t.same(await attempt(large, (id) => id % 2 === 0 ? new S3Error('Timeout') : undefined), { asked: 30, left: 15, failed: [] },
    'only failures in a row count')
  t.same(await attempt(large, (id) => id === 3 ? new AgentUnavailable('it has ended') : undefined), { asked: 4, left: 27, failed: [] })
  t.same(await attempt(large, () => new LocalFileError('EISDIR')), { asked: 30, left: 30, failed: [] }, 'the agent is not to blame')
  const mistake = new TypeError('a mistake of ours')
  t.same(await attempt(files(3), (id) => id === 0 ? mistake : undefined), { asked: 3, left: 1, failed: [mistake] })
})

t.test('Parts are transferred side by side, and none is under way when a failure is told', async (t) => {
  const size = 20 * defaultPartSize + 5
  const parts: [number, number, number][] = []
  t.equal(await transferParts(size, async (...part) => { parts.push(part); return true }), true)
  t.equal(parts.length, 21)
  t.strictSame(parts.at(-1), [20, 20 * defaultPartSize, 5])

  let running = 0
  let started = 0
  const failing = transferParts(size, async (index) => {
    running++
    started++
    await sleep(index === 2 ? 1 : 20)
    running--
    if (index === 2) throw new Error('refused')
    return true
  })
  await t.rejects(failing, { message: 'refused' })
  t.equal(running, 0)
  t.ok(started < 21)
  t.equal(await transferParts(size, async (index) => index !== 2), false)
})
