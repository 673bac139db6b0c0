import type { FileWatchEvent, Sandbox } from 'modal'
import { randomBytes } from 'node:crypto'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { installBusybox, noBusybox } from '../../helpers/busybox.js'
import { eventually } from '../../helpers/containers.js'
import { expectNothingUnexpected, localApp, openEmulator } from '../../helpers/emulator.js'
import { run } from '../../helpers/sdk.js'

const bare = await mkdtemp(join(tmpdir(), 'emulator-image-'))
t.teardown(() => rm(bare, { recursive: true }))
if (noBusybox === false) await installBusybox(bare)
const { emulator, skip } = await openEmulator(t, { images: { bare } })

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
})

t.test('a watch tells what happens at a path, by type, and renames as changes of both names', { skip }, async (t) => {
  const { create } = await localApp(emulator.modal(), 'watches')
  const sandbox = await create()
  const sh = (script: string) => run(sandbox, ['sh', '-c', script])
  await sh('mkdir -p /tmp/seen/below /tmp/other; touch /tmp/other/in /tmp/seen/below/old; ln -s seen /tmp/link')

  const { events, stop } = await watching(sandbox, '/tmp/link')
  await sh('cd /tmp/seen; echo 1 > new; mv new newer; mv /tmp/other/in in; mv in /tmp/other/out; touch below/deep; chmod 600 newer; rm newer')
  await events('Remove', '/tmp/seen/newer')
  const seen = await stop()
  const has = (eventType: string, ...paths: string[]) => seen.some((event) =>
    event.eventType === eventType && event.paths.join() === paths.join())
  t.ok(has('Create', '/tmp/seen/new'), 'created, under the name behind the link')
  t.ok(has('Modify', '/tmp/seen/new'), 'written')
  t.ok(has('Access', '/tmp/seen/new'), 'opened')
  t.ok(has('Modify', '/tmp/seen/new', '/tmp/seen/newer'), 'renamed: one event with both names')
  t.ok(has('Modify', '/tmp/seen/in'), 'moved in, moved out')
  t.notOk(has('Create', '/tmp/seen/in') || has('Remove', '/tmp/seen/in'), 'neither is a creation or a removal')
  t.notOk(seen.some(({ paths }) => paths.join().includes('deep')), 'not what is below')
})

t.test('a watch of all below follows directories that are made or moved; a filter lets only its types through', { skip }, async (t) => {
  const { create } = await localApp(emulator.modal(), 'watches')
  const sandbox = await create()
  const sh = (script: string) => run(sandbox, ['sh', '-c', script])
  await sh('mkdir -p /tmp/tree/a /tmp/tree/c')
  const { events, stop } = await watching(sandbox, '/tmp/tree', { recursive: true, filter: ['Create'] })
  await sh('touch /tmp/tree/a/deep; mkdir /tmp/tree/b')
  await events('Create', '/tmp/tree/b')
  // A directory is watched a moment after it appears.
  await events('Create', '/tmp/tree/b/inside', () => sh('rm -f /tmp/tree/b/inside; touch /tmp/tree/b/inside'))
  await sh('mv /tmp/tree/c /tmp/tree/d')
  await events('Create', '/tmp/tree/d/inside', () => sh('rm -f /tmp/tree/d/inside; touch /tmp/tree/d/inside'))
  const seen = await stop()
  t.ok(seen.some(({ paths }) => paths.join() === '/tmp/tree/a/deep'))
  t.same([...new Set(seen.map(({ eventType }) => eventType))], ['Create'])
})

t.test('a watch needs nothing of the image', { skip: skip || noBusybox }, async (t) => {
  const modal = emulator.modal()
  const { app } = await localApp(modal, 'watches')
  const sandbox = await modal.sandboxes.create(app, modal.images.fromRegistry('bare'))
  await run(sandbox, ['mkdir', '-p', '/tmp/seen'])
  const { stop } = await watching(sandbox, '/tmp/seen')
  t.ok((await stop()).some(({ eventType, paths }) => eventType === 'Create' && paths.join() === '/tmp/seen/set'))
})

t.test('a watch ends with its time, and is refused where there is nothing', { skip }, async (t) => {
  const { create } = await localApp(emulator.modal(), 'watches')
  const { filesystem } = await create()
  const seen: FileWatchEvent[] = []
  for await (const event of filesystem.watch('/tmp', { filter: [], timeoutMs: 1000 })) seen.push(event)
  t.same(seen, [])
  const missing = filesystem.watch('/tmp/none')[Symbol.asyncIterator]().next()
  await t.rejects(missing, { name: 'SandboxFilesystemNotFoundError' })
})

expectNothingUnexpected(t, emulator)

/** Follows a watch once it is set, which shows by a file that is touched until an event tells of it. */
async function watching (sandbox: Sandbox, path: string, params: Parameters<Sandbox['filesystem']['watch']>[1] = {}) {
  const seen: FileWatchEvent[] = []
  let hasStopped = false
  const follow = (async () => {
    for await (const event of sandbox.filesystem.watch(path, { timeoutMs: 120_000, ...params })) {
      if (hasStopped) return
      seen.push(event)
    }
  })()
  follow.catch(() => {})
  const events = async (eventType: string, changed: string, act: () => Promise<unknown> = async () => {}) => {
    const isThere = () => seen.some((event) => event.eventType === eventType && event.paths.includes(changed))
    const found = await eventually(async () => { await act(); return isThere() })
    if (!found) throw new Error(`no ${eventType} of ${changed} among ${JSON.stringify(seen)}`)
  }
  const probe = `${(await run(sandbox, ['readlink', '-f', path])).stdout.trim()}/set`
  const touch = () => run(sandbox, ['sh', '-c', `rm -f ${probe}; touch ${probe}`])
  await events('Create', probe, touch)
  return {
    events,
    async stop () {
      // The SDK ends a watch with the next event only.
      hasStopped = true
      await touch()
      await follow
      return seen
    }
  }
}
