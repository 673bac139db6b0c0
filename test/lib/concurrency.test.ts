import t from 'tap'
import { mapOrdered, Semaphore } from '../../lib/concurrency.js'

t.test('Work at once is bounded in number and bytes, and comes out in order', async (t) => {
  let running = 0
  let most = 0
  const work = async () => {
    most = Math.max(most, ++running)
    await new Promise((resolve) => { setTimeout(resolve, 2) })
    running--
  }
  const gate = new Semaphore(3, 10)
  for (let i = 0; i < 20; i++) await gate.enter(i % 2 === 0 ? 9 : 1, work)
  await gate.idle()
  t.equal(running, 0)
  t.ok(most <= 3)
  await gate.enter(100, work)
  await gate.idle()
  const results = []
  const slowFirst = async (n: number) => { await new Promise((resolve) => { setTimeout(resolve, 10 - n) }); return n }
  for await (const n of mapOrdered([1, 2, 3, 4, 5], () => 1, slowFirst, 3, 2)) results.push(n)
  t.strictSame(results, [1, 2, 3, 4, 5])
})
