import t from 'tap'
import { EphemeralQueues } from '../../../emulator/rpc/ephemeral-queues.js'
import { openEmulator, testEmulator } from '../../helpers/emulator.js'

const { emulator } = await openEmulator(t)

async function queueOf (name: string) {
  return await emulator.modal().queues.fromName(name, { createIfMissing: true })
}

t.test('Items leave a queue in the order in which they came', async (t) => {
  const queue = await queueOf('order')
  await queue.putMany([1, 'two', { three: 3 }])
  t.strictSame([await queue.get(), await queue.getMany(5)], [1, ['two', { three: 3 }]])
  t.equal(await queue.len(), 0)
})

t.test('Looking at the items of a partition takes none of them, whatever was taken before', async (t) => {
  const queue = await queueOf('look')
  await queue.putMany(Array.from({ length: 250 }, (_, index) => index), { partition: 'p' })
  await queue.put('elsewhere')
  t.equal(await queue.get({ partition: 'p' }), 0)
  const seen = []
  for await (const item of queue.iterate({ partition: 'p' })) seen.push(item)
  t.strictSame(seen, Array.from({ length: 249 }, (_, index) => index + 1))
  t.equal(await queue.len({ partition: 'p' }), 249)
})

t.test('A reader of an empty queue waits for the next item, and no longer than it said', async (t) => {
  const queue = await queueOf('wait')
  await t.rejects(queue.get({ timeoutMs: 100 }), { name: 'QueueEmptyError' })
  const [item, followed] = [queue.get({ timeoutMs: 60_000 }), queue.iterate({ partition: 'p', itemPollTimeoutMs: 60_000 }).next()]
  await queue.put('late')
  await queue.put('later', { partition: 'p' })
  t.strictSame([await item, (await followed).value], ['late', 'later'])
})

t.test('A partition takes 5,000 items', async (t) => {
  const queue = await queueOf('full')
  await queue.putMany(Array.from({ length: 5000 }, () => 0))
  await t.rejects(queue.put(1, { timeoutMs: 100 }), { name: 'QueueFullError' })
  await queue.clear()
  t.equal(await queue.len(), 0)
})

t.test('Items survive a restart of the emulator', async (t) => {
  const first = await testEmulator()
  await (await first.modal().queues.fromName('kept', { createIfMissing: true })).put('kept')
  await first.stop({ keep: true })
  const second = await testEmulator({ dataDir: first.dataDir })
  t.teardown(() => second.stop())
  t.equal(await (await second.modal().queues.fromName('kept')).get({ timeoutMs: 1000 }), 'kept')
})

t.test('An ephemeral queue has no name, and is there while heartbeats arrive', async (t) => {
  const queue = await emulator.modal().queues.ephemeral()
  t.equal(queue.name, undefined)
  await queue.put(123)
  t.strictSame([await queue.len(), await queue.get()], [1, 123])
  queue.closeEphemeral()
  let minutes = 0
  const queues = new EphemeralQueues(() => minutes * 60_000)
  const [{ id: silent }, { id: heard }] = [queues.add('main'), queues.add('main')]
  minutes = 10
  t.equal(queues.heard(heard), true)
  minutes = 16
  t.same([queues.get(silent), queues.heard(silent), queues.get(heard)?.id], [undefined, false, heard])
})
