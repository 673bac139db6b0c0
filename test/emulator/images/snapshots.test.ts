import { status } from '@grpc/grpc-js'
import { randomUUID } from 'node:crypto'
import { access, mkdir, readdir } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import type { Sandbox } from 'modal'
import { Snapshots } from '../../../emulator/images/snapshots.js'
import { eventually } from '../../helpers/containers.js'
import { expectNothingUnexpected, localApp, openEmulator, testEmulator } from '../../helpers/emulator.js'
import { isolation } from '../../helpers/isolation.js'
import { run } from '../../helpers/sdk.js'

const { emulator, bare, skip: broken } = await openEmulator(t)
const skip = broken || (isolation === 'runsc' && 'gVisor keeps files and mounts to itself')
const images = join(emulator.dataDir, 'images')

const sh = async (sandbox: Sandbox, script: string) => {
  const { stdout, stderr } = await run(sandbox, ['sh', '-c', script])
  return `${stdout}${stderr}`.trim()
}

t.test('a sandbox of a snapshot has the files of the other as they were, and it goes on', { skip }, async (t) => {
  const { image, create } = await localApp(emulator.modal(), 'snapshots')
  const layered = await image.dockerfileCommands(['RUN mkdir /made && touch /made/a /made/b', 'ENV KEPT=yes', 'WORKDIR /made'])
    .build(await emulator.modal().apps.fromName('snapshots'))
  const volume = await emulator.modal().volumes.fromName('apart', { createIfMissing: true })
  const sandbox = await create({ volumes: { '/apart': volume }, env: { GIVEN: 'no' } }, layered)
  await sh(sandbox, 'rm /made/a; rm -r /srv; mkdir /srv; echo 1 > /srv/one; echo 2 > /tmp/two; chmod 600 /tmp/two; ln /tmp/two /tmp/too')
  await sh(sandbox, 'echo x > /apart/x; echo "#!/bin/sh" > /usr/local/bin/tool; chmod 755 /usr/local/bin/tool; rm /etc/magic')
  const snapshot = await sandbox.snapshotFilesystem()
  t.match(snapshot.imageId, /^im-/)
  await sh(sandbox, 'echo later > /tmp/two; touch /made/later')
  t.equal(await sh(sandbox, 'cat /tmp/two'), 'later')

  const other = await create({}, snapshot)
  t.equal(await sh(other, 'pwd; ls /made /srv /apart; cat /tmp/two; stat -c "%a %h" /tmp/two; tool; ls /etc/magic 2>&1 | wc -l; echo $KEPT$GIVEN'),
    '/made\n/apart:\n\n/made:\nb\n\n/srv:\none\n2\n600 2\n1\nyes')
  const built = await snapshot.dockerfileCommands(['RUN cat /srv/one > /srv/copy']).build(await emulator.modal().apps.fromName('snapshots'))
  t.equal(await sh(await create({}, built), 'cat /srv/copy'), '1')
})

t.test('SDKs of before the command router make a snapshot of a V1 sandbox through the control plane', { skip }, async (t) => {
  const modal = emulator.modal('V1')
  const { create } = await localApp(modal, 'snapshots')
  const sandbox = await create()
  await sh(sandbox, 'echo kept > /srv/file')
  const { imageId, result } = await bare.control('SandboxSnapshotFs', { sandboxId: sandbox.sandboxId, timeout: 55 })
  t.equal(result.status, 1)
  t.equal(await sh(await create({}, await modal.images.fromId(imageId)), 'cat /srv/file'), 'kept')
  await sandbox.terminate({ wait: true })
  await t.rejects(bare.control('SandboxSnapshotFs', { sandboxId: sandbox.sandboxId }), { code: status.NOT_FOUND })
})

t.test('what is written and removed while it is copied does not fail a snapshot', { skip }, async (t) => {
  const { create } = await localApp(emulator.modal(), 'snapshots')
  const sandbox = await create()
  const busy = await sandbox.exec(['sh', '-c', 'while :; do for i in 1 2 3 4 5 6 7 8 9; do echo $i > /tmp/$i; done; rm /tmp/?; done'])
  for (let round = 0; round < 3; round++) t.match((await sandbox.snapshotFilesystem()).imageId, /^im-/)
  await sandbox.terminate({ wait: true })
  t.equal(await busy.wait(), 137)
})

t.test('a directory becomes an image, which is shown in another sandbox until it is unmounted', { skip }, async (t) => {
  const { image, create } = await localApp(emulator.modal(), 'snapshots')
  const sandbox = await create()
  await sh(sandbox, 'mkdir -p /mnt/data /mnt/root')
  await sandbox.mountImage('/mnt/data')
  t.equal(await sh(sandbox, 'ls -A /mnt/data; echo kept > /mnt/data/file; ln -s file /mnt/data/link; cat /mnt/data/link'), 'kept')
  const snapshot = await sandbox.snapshotDirectory('/mnt/data')
  await sandbox.unmountImage('/mnt/data')
  t.equal(await sh(sandbox, 'ls -A /mnt/data'), '', 'what was written there is gone')

  const other = await create()
  await sh(other, 'mkdir -p /mnt/data /mnt/all')
  await other.mountImage('/mnt/data', snapshot)
  t.equal(await sh(other, 'cat /mnt/data/file; readlink /mnt/data/link; echo changed > /mnt/data/file; cat /mnt/data/file'), 'kept\nfile\nchanged')
  await other.mountImage('/mnt/all', image)
  t.equal(await sh(other, 'ls -d /mnt/all/usr/bin /mnt/all/etc/passwd'), '/mnt/all/etc/passwd\n/mnt/all/usr/bin')
  await other.unmountImage('/mnt/all')
  t.equal(await sh(other, 'ls -A /mnt/all'), '')
  await sandbox.mountImage('/mnt/data', snapshot)
  t.equal(await sh(sandbox, 'cat /mnt/data/file'), 'kept', 'nobody writes to an image')
})

t.test('a mount or a snapshot where it makes no sense is refused, and a mount in use stays', { skip }, async (t) => {
  const { create } = await localApp(emulator.modal(), 'snapshots')
  const sandbox = await create()
  await sh(sandbox, 'mkdir -p /mnt/data; ln -s /mnt/data /mnt/link; touch /mnt/file')
  for (const path of ['/mnt/none', '/mnt/link', '/mnt/file']) {
    await t.rejects(sandbox.mountImage(path), { code: status.FAILED_PRECONDITION, message: new RegExp(`${path} is not a directory`) })
    await t.rejects(sandbox.snapshotDirectory(path), { code: status.FAILED_PRECONDITION })
  }
  for (const path of ['/', '/mnt/..', '/proc', '/sys', '/dev', '/dev/shm', '/__modal', 'mnt']) {
    await t.rejects(sandbox.mountImage(path), { code: status.INVALID_ARGUMENT })
    await t.rejects(sandbox.snapshotDirectory(path), { code: status.INVALID_ARGUMENT })
  }
  await t.rejects(sandbox.unmountImage('/mnt/data'), { message: /no image is mounted/ })
  await sandbox.mountImage('/mnt/data')
  await t.rejects(sandbox.mountImage('/mnt/data'), { message: /already mounted/ })
  const inside = await sandbox.exec(['sh', '-c', 'echo in; cat'], { workdir: '/mnt/data' })
  const reader = inside.stdout.getReader()
  await reader.read()
  await t.rejects(sandbox.unmountImage('/mnt/data'), { message: /open files/ })
  await inside.stdin.getWriter().close()
  await inside.wait()
  await sandbox.unmountImage('/mnt/data')
  const key = { experimentalEncryptionKey: new Uint8Array(32) }
  await t.rejects(sandbox.snapshotDirectory('/mnt/data', key), { code: status.UNIMPLEMENTED })
  await t.rejects(emulator.modal().images.delete('im-nonexistent'), { message: /No Image with ID/ })
})

t.test('a repeated call makes one image', { skip }, async (t) => {
  const { create } = await localApp(emulator.modal(), 'snapshots')
  const { sandboxId } = await create()
  const { taskId, jwt } = await bare.task(sandboxId)
  const request = { taskId, snapshotId: randomUUID() }
  const answers = await Promise.all([1, 2].map(() => bare.router(jwt, 'TaskSnapshotFilesystem', request)))
  t.equal(answers[0].imageId, answers[1].imageId)
  await t.rejects(bare.router(jwt, 'TaskSnapshotFilesystem', { taskId, ttlSeconds: 0 }), { code: status.INVALID_ARGUMENT })
  await t.rejects(bare.router(jwt, 'TaskSnapshotFilesystem', { taskId: 'other' }), { code: status.PERMISSION_DENIED })
})

t.test('an image is found until its time is over; its files go when nothing is made of them', { skip }, async (t) => {
  const { create } = await localApp(emulator.modal(), 'snapshots')
  const sandbox = await create()
  await sh(sandbox, 'echo 1 > /tmp/one')
  const first = await sandbox.snapshotFilesystem({ ttlMs: 1000 })
  const middle = await create({}, await sandbox.snapshotFilesystem({ ttlMs: 1000 }))
  const last = await middle.snapshotFilesystem({ ttlMs: null })
  await eventually(async () => await emulator.modal().images.fromId(first.imageId).then(() => false, () => true))
  await t.rejects(emulator.modal().images.fromId(first.imageId), { name: 'NotFoundError' })
  await t.rejects(create({}, first), { message: /Could not find image with ID/ })

  const store = new Snapshots({ directory: images, deleted: () => [], inUse: () => [] })
  await store.collect()
  t.ok((await readdir(images)).includes(first.imageId), 'a sandbox might be about to start')
  await store.collect(Date.now() + 3600_000)
  t.notOk((await readdir(images)).includes(first.imageId))
  t.equal(await sh(await create({}, last), 'cat /tmp/one'), '1', 'what it is built on is still there')
})

t.test('what a running sandbox is made of stays, and what was deleted goes after it', { skip }, async (t) => {
  const { create } = await localApp(emulator.modal(), 'snapshots')
  const snapshot = await (await create()).snapshotFilesystem()
  const layer = { base: { kind: 'local' as const }, layers: [join(images, snapshot.imageId, 'layer')] }
  await emulator.modal().images.delete(snapshot.imageId)
  const later = Date.now() + 3600_000
  const deleted = () => [snapshot.imageId]
  await new Snapshots({ directory: images, deleted, inUse: () => [layer] }).collect(later)
  await access(layer.layers[0]!)
  await new Snapshots({ directory: images, deleted, inUse: () => [] }).collect(later)
  await t.rejects(access(layer.layers[0]!), { code: 'ENOENT' })
})

t.test('a snapshot survives the emulator; a half of one does not', { skip }, async (t) => {
  const before = await testEmulator()
  const { create } = await localApp(before.modal(), 'restarts')
  const sandbox = await create()
  await sh(sandbox, 'echo 1 > /tmp/one')
  const { imageId } = await sandbox.snapshotFilesystem()
  await before.stop({ keep: true })
  const half = join(before.dataDir, 'images', 'im-half.new')
  await mkdir(half)
  const after = await testEmulator({ dataDir: before.dataDir })
  t.teardown(() => after.stop())
  const { create: again } = await localApp(after.modal(), 'restarts')
  t.equal(await sh(await again({}, await after.modal().images.fromId(imageId)), 'cat /tmp/one'), '1')
  await t.rejects(access(half), { code: 'ENOENT' })
})

t.test('on gVisor it is refused with the reason', { skip: isolation === 'runsc' ? false : 'containers are namespaces' }, async (t) => {
  const { create } = await localApp(emulator.modal(), 'snapshots')
  const sandbox = await create()
  await t.rejects(sandbox.snapshotFilesystem(), { code: status.UNIMPLEMENTED, message: /EMULATOR_RUNTIME=namespaces/ })
  await t.rejects(sandbox.mountImage('/mnt'), { code: status.UNIMPLEMENTED })
})

expectNothingUnexpected(t, emulator)
