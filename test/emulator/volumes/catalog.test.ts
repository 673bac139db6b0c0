import { status } from '@grpc/grpc-js'
import { InvalidError, NotFoundError } from 'modal'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { mock } from 'node:test'
import t from 'tap'
import { State } from '../../../emulator/control/state.js'
import { VolumeCatalog } from '../../../emulator/volumes/catalog.js'
import { VolumeStore } from '../../../emulator/volumes/store.js'
import { expectNothingUnexpected, localApp, openEmulator } from '../../helpers/emulator.js'
import { firstText, run } from '../../helpers/sdk.js'

const { emulator, skip } = await openEmulator(t)
const modal = emulator.modal()

t.test('a volume is private until it is committed here and reloaded there (1.4)', { skip }, async (t) => {
  const { create } = await localApp(modal, 'volumes')
  const volume = await modal.volumes.fromName('shared', { createIfMissing: true })
  const [writer, reader] = await Promise.all([create({ volumes: { '/data': volume } }), create({ volumes: { '/data': volume } })])
  const frozen = await create({ volumes: { '/data': volume.withMountOptions({ readOnly: true }) } })
  await run(writer, ['sh', '-c', 'echo one > /data/file'])
  t.equal((await run(reader, ['cat', '/data/file'])).code, 1)
  await writer.reloadVolumes()
  t.equal((await run(reader, ['cat', '/data/file'])).code, 1)
  await reader.reloadVolumes()
  t.equal((await run(reader, ['cat', '/data/file'])).stdout, 'one\n')
  t.match((await run(frozen, ['touch', '/data/x'])).stderr, /Read-only file system/)

  const holder = await reader.exec(['sh', '-c', 'exec 3</data/file; echo open; read line'])
  await firstText(holder.stdout)
  await t.rejects(reader.reloadVolumes(), { code: status.FAILED_PRECONDITION, message: /open files/ })
  await holder.closeStdin()
  await holder.wait()

  await run(writer, ['sh', '-c', 'echo two > /data/file; mkdir -p /data/sub; echo deep > /data/sub/f'])
  await writer.terminate({ wait: true })
  const scratch = await modal.volumes.ephemeral()
  t.teardown(() => scratch.closeEphemeral())
  const next = await create({ volumes: { '/data': volume, '/other': scratch } })
  t.equal((await run(next, ['cat', '/data/file'])).stdout, 'two\n')
  const below = await create({ volumes: { '/sub': volume.withMountOptions({ subPath: 'sub' }) } })
  t.equal((await run(below, ['cat', '/sub/f'])).stdout, 'deep\n')
})

t.test('volumes: versions, wrong mounts, and deletion', { skip }, async (t) => {
  const { create } = await localApp(modal, 'volumes')
  const volume = await modal.volumes.fromName('second', { createIfMissing: true, version: 2 })
  t.equal((await modal.volumes.fromName('second')).volumeId, volume.volumeId)
  await t.rejects(modal.volumes.fromName('second', { version: 1 }), InvalidError)
  await t.rejects(modal.volumes.fromName('third'), { message: "Volume 'third' not found" })
  await t.rejects(create({ volumes: { '/': volume } }), /INVALID_ARGUMENT/)
  await t.rejects(create({ volumes: { '/a': volume, '/b': volume } }), /INVALID_ARGUMENT.*two paths/)
  await modal.volumes.delete('second')
  await t.rejects(modal.volumes.delete('second'), NotFoundError)
  await modal.volumes.delete('second', { allowMissing: true })
})

t.test('a deleted volume stays for the sandbox that uses it, its name is free at once', { skip }, async (t) => {
  const { create } = await localApp(modal, 'volumes')
  const volume = await modal.volumes.fromName('gone', { createIfMissing: true })
  const user = await create({ volumes: { '/data': volume } })
  await modal.volumes.delete('gone')
  t.equal((await run(user, ['sh', '-c', 'echo still > /data/f && cat /data/f'])).stdout, 'still\n')
  const again = await Promise.all([1, 2].map(() => modal.volumes.fromName('gone', { createIfMissing: true })))
  t.equal(again[0]!.volumeId, again[1]!.volumeId)
  t.not(again[0]!.volumeId, volume.volumeId)
  t.equal(await user.terminate({ wait: true }), 137)
})

t.test('an ephemeral volume goes when its heartbeats stop, a named one stays', async (t) => {
  const dataDir = await mkdtemp(join(tmpdir(), 'emulator-test-'))
  t.teardown(() => rm(dataDir, { recursive: true }))
  const state = await State.open(dataDir)
  mock.timers.enable({ apis: ['setInterval', 'Date'] })
  t.teardown(() => mock.timers.reset())
  const catalog = new VolumeCatalog(state, new VolumeStore(dataDir), () => Promise.resolve())
  t.teardown(() => catalog.close())
  const [silent, alive] = [await catalog.ephemeral('main'), await catalog.ephemeral('main')]
  const named = await catalog.named({ name: 'kept', environment: 'main', createIfMissing: true, version: 0 })
  for (let minute = 0; minute < 20; minute++) {
    mock.timers.tick(60_000)
    catalog.heartbeat(alive.id)
  }
  t.same(state.records.volumes.map(({ id }) => id), [alive.id, named.id])
  t.throws(() => catalog.byId(silent.id), { code: status.NOT_FOUND })
  await state.save()
})

expectNothingUnexpected(t, emulator)
