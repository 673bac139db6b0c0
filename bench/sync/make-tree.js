// Fills a directory: `node make-tree.js in <directory> <count> <smallest> <largest> [<count> <smallest> <largest>]...`.
// The same arguments make the same bytes, here and in a sandbox.
import { createCipheriv } from 'node:crypto'
import fs from 'node:fs'
import { join } from 'node:path'

const [root, ...groups] = process.argv.slice(process.argv.indexOf('in') + 1)
const noise = createCipheriv('aes-128-ctr', Buffer.alloc(16, 7), Buffer.alloc(16))
const zeros = Buffer.alloc(4 * 2 ** 20)
const piece = (size) => noise.update(zeros.subarray(0, size))

for (let group = 0; group < groups.length; group += 3) {
  const [count, smallest, largest] = groups.slice(group, group + 3).map(Number)
  for (let n = 0; n < count; n++) {
    const folder = join(root, `group-${group / 3}`, `folder-${n % 100}`)
    fs.mkdirSync(folder, { recursive: true })
    const size = smallest + piece(4).readUInt32LE() % (largest - smallest + 1)
    const file = fs.openSync(join(folder, `file-${n}.bin`), 'w')
    for (let left = size; left > 0; left -= zeros.length) fs.writeSync(file, piece(Math.min(left, zeros.length)))
    fs.closeSync(file)
  }
}
