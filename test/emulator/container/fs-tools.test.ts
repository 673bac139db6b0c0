import { InvalidError } from 'modal'
import { randomBytes } from 'node:crypto'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { expectNothingUnexpected, localApp, openEmulator } from '../../helpers/emulator.js'
import { run } from '../../helpers/sdk.js'

const { emulator, skip } = await openEmulator(t)

t.test('filesystem: what the SDK offers works, and fails with its own classes', { skip }, async (t) => {
  const { create } = await localApp(emulator.modal(), 'files')
  const sandbox = await create()
  const { filesystem } = sandbox
  const bytes = randomBytes(3_000_000)
  await filesystem.writeBytes(bytes, '/tmp/deep/er/file')
  t.ok(Buffer.from(await filesystem.readBytes('/tmp/deep/er/file')).equals(bytes))
  await filesystem.writeText('caf\u00e9', '/tmp/deep/text')
  t.equal(await filesystem.readText('/tmp/deep/text'), 'caf\u00e9')
  await run(sandbox, ['sh', '-c', 'ln -s text /tmp/deep/link; chmod 640 /tmp/deep/text'])
  const entries = await filesystem.listFiles('/tmp/deep')
  t.same(entries.map(({ name, type }) => [name, type]), [['er', 'directory'], ['link', 'symlink'], ['text', 'file']])
  t.match(await filesystem.stat('/tmp/deep/text'), { size: 5, permissions: '0640', owner: 'root', path: '/tmp/deep/text', symlinkTarget: null })
  t.match(await filesystem.stat('/tmp/deep/link'), { type: 'symlink', symlinkTarget: 'text' })
  await filesystem.makeDirectory('/tmp/made/by')
  const failures: Array<[() => Promise<unknown>, string]> = [
    [() => filesystem.readText('/tmp/none'), 'SandboxFilesystemNotFoundError'],
    [() => filesystem.readText('/tmp'), 'SandboxFilesystemIsADirectoryError'],
    [() => filesystem.stat('/tmp/none'), 'SandboxFilesystemNotFoundError'],
    [() => filesystem.stat('/tmp/deep/text/below'), 'SandboxFilesystemNotADirectoryError'],
    [() => filesystem.listFiles('/tmp/deep/text'), 'SandboxFilesystemNotADirectoryError'],
    [() => filesystem.writeText('x', '/tmp/deep'), 'SandboxFilesystemIsADirectoryError'],
    [() => filesystem.writeText('x', '/tmp/deep/text/below'), 'SandboxFilesystemNotADirectoryError'],
    [() => filesystem.makeDirectory('/tmp/made', { createParents: false }), 'SandboxFilesystemPathAlreadyExistsError'],
    [() => filesystem.makeDirectory('/tmp/x/y', { createParents: false }), 'SandboxFilesystemNotFoundError'],
    [() => filesystem.remove('/tmp/deep'), 'SandboxFilesystemDirectoryNotEmptyError'],
    [() => filesystem.remove('/tmp/none'), 'SandboxFilesystemNotFoundError']
  ]
  for (const [fail, name] of failures) await t.rejects(fail(), { name }, name)
  await filesystem.remove('/tmp/deep', { recursive: true })
  await t.rejects(filesystem.stat('/tmp/deep'), { name: 'SandboxFilesystemNotFoundError' })

  const local = await mkdtemp(join(tmpdir(), 'emulator-test-'))
  t.teardown(() => rm(local, { recursive: true }))
  await writeFile(join(local, 'up'), bytes)
  await filesystem.copyFromLocal(join(local, 'up'), '/tmp/up')
  await filesystem.copyToLocal('/tmp/up', join(local, 'down'))
  t.ok(bytes.equals(await readFile(join(local, 'down'))))
  await t.rejects(filesystem.watch('/tmp')[Symbol.asyncIterator]().next(), InvalidError)
})

expectNothingUnexpected(t, emulator)
