import { spawnSync } from 'node:child_process'
import { mkdtemp, readFile, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { removeTree } from '../../../emulator/container/host.js'
import { joinCgroups } from '../../../emulator/container/setup.js'

t.test('A shell that joins its control groups goes on, and one that can\'t runs nothing', async (t) => {
  const directory = await mkdtemp(join(tmpdir(), 'setup-'))
  t.teardown(() => removeTree(directory))
  const [one, other, missing] = ['one', 'other', 'missing/cgroup.procs'].map((name) => join(directory, name))
  for (const file of [one!, other!]) await writeFile(file, '')
  const start = (...files: string[]) =>
    spawnSync('sh', ['-c', `${joinCgroups(files)}\nexec "$@"`, 'sh', 'sh', '-c', 'echo $$'], { encoding: 'utf8' })
  const { status, stdout } = start(one!, other!)
  t.equal(status, 0)
  t.same(await Promise.all([one!, other!].map((file) => readFile(file, 'utf8'))), [stdout, stdout])
  t.match(start(one!, missing!), { status: 126, stdout: /^$/, stderr: /the limits of the sandbox could not be set/ })
})
