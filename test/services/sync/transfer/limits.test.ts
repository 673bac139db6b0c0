import t from 'tap'
import { partCount, partSizeFor } from '../../../../services/sync/transfer/limits.js'

t.test('Parts grow with the file: 50 GB and far more fit', async (t) => {
  const gigabyte = 1e9
  for (const size of [1, 8 * 1024 * 1024 + 1, 50 * gigabyte, 5000 * gigabyte]) {
    t.ok(partCount(size) <= 10_000 && partCount(size) * partSizeFor(size) >= size, `${size}`)
  }
  t.equal(partSizeFor(50 * gigabyte), 8 * 1024 * 1024)
})
