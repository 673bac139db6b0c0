import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import t from 'tap'
import { OutputTail } from '../../../services/sandboxes/terminal-streams.js'

const kept = 256 * 1024
setFlagsFromString('--expose-gc')
const collectGarbage = runInNewContext('gc') as () => void

t.test('The end of the output is what came last, whatever its parts were', async (t) => {
  for (const sizes of [[1], [1000, 3], [kept], [kept - 1, 2], [kept + 1], [3 * kept, 1], [70_000], [0, 5]]) {
    const tail = new OutputTail()
    let all = Buffer.alloc(0)
    for (let part = 0; all.length < 3 * kept && part < 2000; part++) {
      const bytes = Buffer.alloc(sizes[part % sizes.length]!, part)
      tail.add(bytes)
      all = Buffer.concat([all, bytes])
    }
    const first = Math.max(0, all.length - kept)
    for (const from of [0, first, first + 1, all.length - 1, all.length].filter((position) => position >= 0)) {
      const { start, bytes } = tail.since(from)
      t.equal(start, Math.max(first, from), `${sizes} from ${from}`)
      t.ok(all.subarray(start).equals(bytes), `${sizes} from ${from}`)
    }
    t.equal(tail.since(all.length + 1).start, first, 'a position that never was')
  }
})

t.test('What is shown to one viewer does not change with what comes next', async (t) => {
  const tail = new OutputTail()
  tail.add(Buffer.alloc(kept, 1))
  const { bytes } = tail.since(0)
  for (let part = 0; part < 4; part++) tail.add(Buffer.alloc(kept, 2))
  t.ok(bytes.every((byte) => byte === 1))
})

t.test('Output that comes byte by byte takes no more memory than any other', async (t) => {
  const tail = new OutputTail()
  const byte = Buffer.alloc(1)
  collectGarbage()
  const before = process.memoryUsage()
  for (let count = 0; count < 2 * kept; count++) tail.add(byte)
  collectGarbage()
  const after = process.memoryUsage()
  t.equal(tail.since(0).bytes.length, kept)
  const growth = after.heapUsed + after.arrayBuffers - before.heapUsed - before.arrayBuffers
  t.ok(growth < 4 * 1024 * 1024, `${growth} bytes`)
})
