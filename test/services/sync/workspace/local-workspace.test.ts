import { execFileSync } from 'node:child_process'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import type { Entry } from '../../../../services/sync/workspace/workspace.js'
import { LocalWorkspace } from '../../../helpers/local-workspace.js'

t.test('A directory as a workspace says what it cannot read, and what it cannot write (2.5, 3.4)', async (t) => {
  const root = await mkdtemp(join(tmpdir(), 'workspace-'))
  t.teardown(() => rm(root, { recursive: true }))
  const workspace = new LocalWorkspace(root)
  t.equal((await new LocalWorkspace(join(root, 'nowhere')).list()).missing, true)
  execFileSync('mkfifo', [join(root, 'pipe')])
  await writeFile(Buffer.concat([Buffer.from(`${root}/bad-`), Buffer.from([0xff])]), '')
  const { special, problems, entries } = await workspace.list()
  t.match({ special, problems, count: entries.size }, { special: 1, problems: [{ code: 'NAME_NOT_UTF8' }], count: 0 })

  const entry = (path: string): Entry => ({ path, type: 'file', mode: 0o644, size: 1, mtime: '1', ctime: '1', uid: 0, gid: 0 })
  for await (const read of workspace.readMany([entry('gone'), entry('pipe')])) t.match(read, { code: 'GONE' })
  for (const path of ['gone', 'pipe']) {
    const large = await workspace.readLarge(entry(path))
    for await (const chunk of large.chunks) t.fail(`${chunk.length} bytes`)
    t.same([large.entry, await large.confirm()], [undefined, undefined])
    large.cancel()
  }

  const write = async (...all: object[]) => await workspace.write((async function * () { yield * all as never[] })())
  const common = { mode: 0o644, mtime: '1000' }
  const file = (path: string, text: string, size = text.length) => ({ ...common, path, type: 'file', size, body: Buffer.from(text) })
  const directory = (path: string) => ({ ...common, mode: 0o755, path, type: 'directory', size: 0 })
  const link = (path: string) => ({ ...common, path, type: 'symlink', size: 1, target: 'x' })
  t.equal(await write(file('a', 'one'), directory('a'), file('a/b', 'two'), file('c', ''), link('c'), file('c', 'three')), '')
  t.match(await write(file('a', 'x')), /^a: ENOTEMPTY$/)
  await workspace.remove(['a', 'gone'])
  t.equal(await readFile(join(root, 'a/b'), 'utf8'), 'two', 'what is not empty stays')
  await workspace.remove(['a/b', 'a'])
  t.equal(await write(directory('a'), file('a', 'empty directories make room')), '')
  t.same([...(await workspace.hash(['c', 'gone'])).keys()], ['c'])
  await t.rejects(write(file('short', 'abc', 5)), { message: /ended early/ })
})
