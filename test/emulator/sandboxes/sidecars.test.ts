import { status } from '@grpc/grpc-js'
import type { Image, Sandbox } from 'modal'
import type { Test } from 'tap'
import t from 'tap'
import { eventually } from '../../helpers/containers.js'
import { expectNothingUnexpected, localApp, openEmulator } from '../../helpers/emulator.js'
import { isolation } from '../../helpers/isolation.js'
import { freePort } from '../../helpers/port.js'
import { run } from '../../helpers/sdk.js'

const { emulator, bare, skip } = await openEmulator(t)

async function openSandbox (t: Test, family: 'V1' | 'V2', params = {}) {
  const modal = emulator.modal(family)
  const { image, create } = await localApp(modal, 'sidecars')
  const sandbox = await create(params)
  t.teardown(() => sandbox.terminate())
  const { experimentalSidecars: sidecars } = sandbox
  const side = async (name: string, params = {}, other: Image = image) => await sidecars.create(name, other, params)
  return { modal, image, sandbox, side, sidecars }
}

for (const family of ['V1', 'V2'] as const) {
  t.test(`${family}: a sidecar runs beside the sandbox's own container, with files and processes of its own`, { skip }, async (t) => {
    const { modal, image, sandbox, side } = await openSandbox(t, family)
    const layered = await image.dockerfileCommands(['RUN echo side > /srv/which', 'WORKDIR /srv'])
      .build(await modal.apps.fromName('sidecars'))
    const secret = await modal.secrets.fromObject({ GIVEN: 'secret', KEPT: 'kept' })
    const worker = await side('worker', { command: ['sleep', '600'], secrets: [secret], env: { GIVEN: 'env' } }, layered)
    t.match(worker, { containerName: 'worker', containerId: /^sb-.+-ctr-/ })
    const script = 'pwd; cat which; echo $GIVEN $KEPT $MODAL_SANDBOX_ID; ps -e -o args= | grep -c "^sleep 600"'
    const { stdout } = await run(worker as unknown as Sandbox, ['sh', '-c', script])
    t.equal(stdout, `/srv\nside\nenv kept ${sandbox.sandboxId}\n1\n`)

    await worker.filesystem.writeText('there', '/tmp/file')
    t.equal(await worker.filesystem.readText('/tmp/file'), 'there')
    await t.rejects(sandbox.filesystem.stat('/tmp/file'), { name: 'SandboxFilesystemNotFoundError' })
    t.equal((await run(sandbox, ['sh', '-c', 'ls /srv/which 2>&1 | wc -l; ps -e -o args= | grep -c "^sleep 600"'])).stdout, '1\n0\n')
  })

  t.test(`${family}: a sidecar ends by itself, or is ended, and its name is free again`, { skip }, async (t) => {
    const { side, sidecars } = await openSandbox(t, family)
    const names = async (includeTerminated = false) =>
      (await sidecars.list({ includeTerminated })).map(({ containerName }) => containerName)
    const once = await side('once', { command: ['sh', '-c', 'exit 42'] })
    t.same([await once.wait(), await once.poll()], [42, 42])
    await t.rejects(sidecars.get('once'), { name: 'NotFoundError' })
    t.equal((await sidecars.get('once', { includeTerminated: true })).containerId, once.containerId)

    const again = await side('once', { command: ['sleep', '600'] })
    t.not(again.containerId, once.containerId)
    t.equal(await again.poll(), null)
    await t.rejects(side('once'), { name: 'AlreadyExistsError', message: /'once' already exists/ })
    t.same([await names(), await names(true)], [['once'], ['once', 'once']])
    t.equal(await again.terminate({ wait: true }), 137)
    t.same(await names(), [])
    await t.rejects(run(again as unknown as Sandbox, ['true']), { code: status.NOT_FOUND })
  })
}

t.test('a sidecar\'s volumes are its own until they are committed, and kept when the sandbox ends', { skip }, async (t) => {
  const { modal, sandbox, side } = await openSandbox(t, 'V2')
  const volume = await modal.volumes.fromName('aside', { createIfMissing: true })
  const worker = await side('worker', { command: ['sleep', '600'], volumes: { '/v': volume } })
  const sh = async (script: string) => (await run(worker as unknown as Sandbox, ['sh', '-c', script])).stdout
  await sh('echo written > /v/file')
  if (isolation !== 'runsc') {
    await worker.reloadVolumes()
    t.equal(await sh('cat /v/file'), 'written\n')
  }
  await sh('echo last > /v/last')
  await sandbox.terminate({ wait: true })
  const { entries } = (await bare.stream('VolumeListFiles', { volumeId: volume.volumeId })[Symbol.asyncIterator]().next()).value
  t.same(entries.map(({ path }: { path: string }) => path), ['file', 'last'])
})

t.test('sidecars end with their sandbox', { skip }, async (t) => {
  const { sandbox, side } = await openSandbox(t, 'V2', { command: ['sleep', '600'] })
  const worker = await side('worker', { command: ['sleep', '600'] })
  const waiting = worker.wait()
  await sandbox.terminate({ wait: true })
  t.equal(await waiting, 137)
  await t.rejects(side('late'), { code: status.NOT_FOUND, details: /already finished/ })
})

t.test('whatever a sidecar\'s own process says, it goes on', { skip }, async (t) => {
  const { side } = await openSandbox(t, 'V2')
  const worker = await side('loud', { command: ['sh', '-c', 'head -c 300M /dev/zero; sleep 600 > /tmp/done'] })
  await eventually(async () => (await run(worker as unknown as Sandbox, ['test', '-e', '/tmp/done'])).code === 0)
})

t.test('a snapshot of a sidecar has its files', { skip: skip || isolation === 'runsc' }, async (t) => {
  const { modal, sandbox, side } = await openSandbox(t, 'V2')
  const worker = await side('worker', { command: ['sleep', '600'] })
  await worker.filesystem.writeText('there', '/srv/file')
  const snapshot = await worker.snapshotFilesystem()
  const app = await modal.apps.fromName('sidecars')
  const other = await modal.sandboxes.create(app, snapshot)
  t.teardown(() => other.terminate())
  t.equal(await other.filesystem.readText('/srv/file'), 'there')
  await run(sandbox, ['mkdir', '/mnt/here'])
  await run(worker as unknown as Sandbox, ['mkdir', '/mnt/there'])
  await worker.mountImage('/mnt/there', snapshot)
  t.equal(await worker.filesystem.readText('/mnt/there/srv/file'), 'there')
  t.equal((await run(sandbox, ['ls', '/mnt'])).stdout, 'here\n')
})

t.test('a sidecar has the network of its sandbox: what one listens on, the other finds on localhost', { skip }, async (t) => {
  const { sandbox, side } = await openSandbox(t, 'V2')
  const port = await freePort()
  const worker = await side('worker', {
    command: ['node', '-e', `
    require('http').createServer((request, answer) => { answer.end('beside') }).listen(${port}, '127.0.0.1')`]
  })
  const ask = async (from: unknown) => (await run(from as Sandbox, ['curl', '-s', `http://localhost:${port}`])).stdout
  t.ok(await eventually(async () => await ask(worker) === 'beside'))
  t.equal(await ask(sandbox), 'beside')
})

t.test('what a sidecar can\'t have is refused', { skip }, async (t) => {
  const { image, sandbox, side } = await openSandbox(t, 'V2')
  const { sandboxId } = sandbox
  const { imageId } = image
  const create = async (definition: object, containerName = 'refused') =>
    await bare.control('SandboxContainerCreateV2', { sandboxId, containerName, definition: { imageId, ...definition } })
  await t.rejects(create({}, 'main'), { code: status.INVALID_ARGUMENT, details: /own container/ })
  await t.rejects(create({}, 'a b'), { code: status.INVALID_ARGUMENT, details: /Invalid Sidecar name/ })
  await t.rejects(create({ workdir: 'here' }), { code: status.INVALID_ARGUMENT, details: /workdir/ })
  await t.rejects(create({ imageId: 'im-none' }), { code: status.NOT_FOUND, details: /im-none/ })
  await t.rejects(create({ volumeMounts: [{ volumeId: 'vo-none', mountPath: '/v' }] }), { code: status.NOT_FOUND })
  await t.rejects(create({ volumeMounts: [{ volumeId: 'vo-none', mountPath: '/' }] }), { code: status.INVALID_ARGUMENT })
  await t.rejects(create({ includeOidcIdentityToken: true }), { code: status.UNIMPLEMENTED, details: /identity tokens/ })
  await t.rejects(create({ resources: { memoryMb: 1 } }), { code: status.UNIMPLEMENTED, details: /reserve/ })
  await t.rejects(create({ proxyId: 'pr-1' }), { code: status.UNIMPLEMENTED, details: /proxies/ })
  await t.rejects(side('refused', { outboundCidrAllowlist: ['10.0.0.0/8'] }), { code: status.UNIMPLEMENTED, details: /allowlist/ })
  const { side: beside } = await openSandbox(t, 'V2', { blockNetwork: true })
  await t.rejects(beside('refused'), { code: status.UNIMPLEMENTED, details: /could not share/ })
  t.same(await sandbox.experimentalSidecars.list({ includeTerminated: true }), [])
})

expectNothingUnexpected(t, emulator)
