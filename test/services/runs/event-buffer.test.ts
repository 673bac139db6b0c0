import t from 'tap'
import { EventBuffer } from '../../../services/runs/event-buffer.js'

t.test('The buffer keeps the latest events, and says where they begin', async (t) => {
  const buffer = new EventBuffer(0, 2200)
  for (let number = 1; number <= 100; number++) buffer.append([{ id: number * 100, event: 'claude', json: 'x'.repeat(100) }])
  t.equal(buffer.start, 9000)
  t.strictSame(buffer.take(9000).map(({ id }) => id), [9100, 9200, 9300, 9400, 9500, 9600, 9700, 9800, 9900, 10000])
  t.strictSame(buffer.take(9950).map(({ id }) => id), [10000], 'from any position')
  t.ok(buffer.bytes <= 2200)
  buffer.append([{ id: 20_000, event: 'claude', json: 'y'.repeat(5000) }])
  t.equal(buffer.take(buffer.start)[0]!.json.length, 5000, 'one that is larger than the limit is kept')
  for (let number = 1; number <= 3000; number++) buffer.append([{ id: 20_000 + number, event: 'claude', json: '{}' }])
  t.equal(buffer.take(buffer.lastId - 1).length, 1)
})
