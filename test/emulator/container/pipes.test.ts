import { mkdtemp, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { hostTool, removeTree } from '../../../emulator/container/host.js'
import { PipeMaker } from '../../../emulator/container/pipes.js'

const openNow = async () => (await readdir('/proc/self/fd')).length

t.test('When one of a process\'s pipes fails, the others are closed', async (t) => {
  const directory = await mkdtemp(join(tmpdir(), 'pipes-test-'))
  t.teardown(() => removeTree(directory))
  const pipes = new PipeMaker(directory, await hostTool('mkfifo'))
  const first = await pipes.make()
  const before = await openNow()
  const [own] = await readdir(directory)
  const left = (await readdir(join(directory, own!))).map(Number).sort((a, b) => b - a)
  // They are used from the last one on: input, output, errors.
  for (const round of [0, 3, 6]) {
    await rm(join(directory, own!, String(left[round + round / 3])))
    await t.rejects(pipes.make(), { code: 'ENOENT' })
    t.equal(await openNow(), before)
  }
  const { given, discard } = await pipes.make()
  t.equal(await openNow(), before + 6)
  for (const streams of [first, { given, discard }]) await Promise.all([streams.given(), streams.discard()])
  t.equal(await openNow(), before - 6)
})
