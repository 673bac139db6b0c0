import { status } from '@grpc/grpc-js'
import { SignJWT } from 'jose'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { mock } from 'node:test'
import t from 'tap'
import type { Container } from '../emulator/container/types.js'
import { Lifetime } from '../emulator/sandboxes/lifetime.js'
import { SandboxRegistry } from '../emulator/sandboxes/registry.js'
import { Sandbox, type SandboxInfo } from '../emulator/sandboxes/sandbox.js'
import { State } from '../emulator/control/state.js'
import { VolumeCatalog } from '../emulator/volumes/catalog.js'
import { VolumeStore } from '../emulator/volumes/store.js'
import { BareClient, testEmulator } from './helpers/emulator.js'
import { creator, run } from './helpers/sdk.js'

const emulator = await testEmulator({ secrets: { alpha: { ALPHA: '1' } } })
const bare = new BareClient(emulator)
t.teardown(async () => { bare.close(); await emulator.stop() })
const selfTest = await emulator.selfTest
const skip = selfTest.ok ? false : selfTest.message

/** Method, request, expected status and text. */
type Refusal = [string, object, status, RegExp]

t.test('what is asked wrongly is refused at once, with a status the SDK does not repeat (6.8)', { skip }, async (t) => {
  const modal = emulator.modal()
  const app = await modal.apps.fromName('wrong', { createIfMissing: true })
  const image = await modal.images.fromRegistry('local').build(app)
  const { appId } = app
  const { imageId } = image
  const create = (definition: object, rest: object = {}): [string, object] =>
    ['SandboxCreateV2', { appId, definition: { imageId, timeoutSecs: 60, ...definition }, ...rest }]
  const build = (image: object): [string, object] => ['ImageGetOrCreate', { appId, image }]
  const sandbox = await creator(modal, app, image)()
  const { sandboxId } = sandbox
  const wrong = status.INVALID_ARGUMENT
  const refusals: Refusal[] = [
    ['EnvironmentGetOrCreate', { deploymentName: 'not made' }, status.NOT_FOUND, /Environment 'not made' not found/],
    ['EnvironmentGetOrCreate', { deploymentName: 'a b', objectCreationType: 1 }, wrong, /Invalid Environment name/],
    ['AppGetOrCreate', { appName: appId, objectCreationType: 1 }, wrong, /Invalid App name/],
    ['SandboxCreateV2', { appId }, wrong, /definition is missing/],
    [...create({}, { appId: 'ap-none' }), status.NOT_FOUND, /App with ID ap-none/],
    [...create({ timeoutSecs: 0 }), wrong, /timeout_secs/],
    [...create({ idleTimeoutSecs: 0 }), wrong, /idle_timeout_secs/],
    [...create({ workdir: 'relative' }), wrong, /workdir/],
    [...create({ name: 'a b' }), wrong, /Invalid Sandbox name/],
    [...create({ volumeMounts: [{ volumeId: 'vo-none', mountPath: '/data' }] }), status.NOT_FOUND, /vo-none/],
    [...create({ volumeMounts: [{ volumeId: 'a', mountPath: '/proc/x' }] }), wrong, /can't be mounted/],
    [...create({ volumeMounts: [{ volumeId: 'a', mountPath: '/d' }, { volumeId: 'b', mountPath: '/d/' }] }), wrong, /Two volumes/],
    [...create({ volumeMounts: [{ volumeId: 'a', mountPath: '/d', subPath: '../b' }] }), wrong, /sub path/],
    [...create({ resources: { gpuConfig: { gpuType: 'A10G', count: 1 } } }), status.UNIMPLEMENTED, /emulator.*GPU/],
    [...create({ experimentalOptionsV2: { enable_docker: 'true' } }), status.UNIMPLEMENTED, /enable_docker/],
    [...create({}, { tags: [{ tagName: 'a', tagValue: '1' }, { tagName: 'a', tagValue: '2' }] }), wrong, /unique/],
    [...create({}, { secretSources: [{ secretId: 'st-none' }] }), status.NOT_FOUND, /st-none/],
    [...create({}, { secretSources: [{ env: { contents: { 'A B': 'x' } } }] }), wrong, /Invalid environment variable name/],
    [...create({}, { secretSources: [{ env: { contents: { A: 'hush\0' } } }] }), wrong, /value of 'A' contains a NUL/],
    ['SandboxSetName', { sandboxId, name: '' }, wrong, /Invalid Sandbox name/],
    ['SandboxGetCommandRouterAccess', {}, status.NOT_FOUND, /Task with ID/],
    ['SandboxGetLogs', { sandboxId }, status.NOT_FOUND, /Sandbox with ID/],
    ['ImageGetOrCreate', { appId }, wrong, /image is missing/],
    ['ImageGetOrCreate', { appId, existingImageId: 'im-none' }, status.NOT_FOUND, /im-none/],
    [...build({ dockerfileCommands: ['RUN true'] }), wrong, /begin with FROM/],
    [...build({ dockerfileCommands: ['FROM x'], baseImages: [{ dockerTag: 'base', imageId }] }), wrong, /called x/],
    [...build({ dockerfileCommands: ['FROM local'], contextFiles: [{ filename: 'a' }] }), status.UNIMPLEMENTED, /COPY/],
    [...build({ dockerfileCommands: ['FROM local'], buildArgs: { A: '1' } }), status.UNIMPLEMENTED, /arguments/],
    [...build({ dockerfileCommands: ['FROM local'], buildFunctionDef: 'x' }), status.UNIMPLEMENTED, /functions/],
    [...build({ dockerfileCommands: ['FROM local'], volumeMounts: [{ volumeId: 'a' }] }), status.UNIMPLEMENTED, /volumes/],
    ['ImageGetByTag', { tag: 'none:1' }, status.NOT_FOUND, /none:1/],
    ['ImagePublish', { imageId, tag: 'a:b', allowPublic: true }, wrong, /public/],
    ['SecretGetOrCreate', { deploymentName: 'alpha', objectCreationType: 1 }, status.UNIMPLEMENTED, /configuration/],
    ['SecretGetOrCreate', { objectCreationType: 5, envDict: { '1A': 'x' } }, wrong, /'1A'/],
    ['SecretDelete', { secretId: 'st-none' }, status.NOT_FOUND, /st-none/],
    ['VolumeGetOrCreate', { deploymentName: 'v', objectCreationType: 1, version: 3 }, wrong, /version/],
    ['VolumeGetOrCreate', { deploymentName: 'v', objectCreationType: 2 }, status.UNIMPLEMENTED, /creating a volume/],
    ['VolumeHeartbeat', { volumeId: 'vo-none' }, status.NOT_FOUND, /vo-none/]
  ]
  for (const [method, request, code, details] of refusals) {
    const call = method === 'SandboxGetLogs' ? drain(bare.stream(method, request)) : bare.control(method, request)
    await t.rejects(call, { code, details }, `${method} ${details}`)
  }
  await t.rejects(drain(bare.stream('ImageJoinStreaming', { imageId: 'im-none' })), { code: status.NOT_FOUND })

  const { taskId, jwt } = await bare.task(sandboxId)
  const exec = (more: object): [string, object] => ['TaskExecStart', { taskId, execId: 'x', commandArgs: ['true'], ...more }]
  const routed: Refusal[] = [
    [...exec({ execId: '' }), wrong, /exec_id/],
    [...exec({ commandArgs: [] }), wrong, /not be empty/],
    [...exec({ commandArgs: ['a\0b'] }), wrong, /NUL/],
    [...exec({ commandArgs: ['x'.repeat(70_000)] }), wrong, /65536/],
    [...exec({ workdir: 'here' }), wrong, /workdir/],
    [...exec({ timeoutSecs: 0 }), wrong, /timeout_secs/],
    [...exec({ containerId: 'side' }), status.UNIMPLEMENTED, /one container/],
    ['TaskExecPoll', { taskId, execId: 'none' }, status.NOT_FOUND, /Exec with ID none/],
    ['TaskReloadVolumes', { taskId, containerId: 'side' }, status.UNIMPLEMENTED, /one container/]
  ]
  for (const [method, request, code, details] of routed) {
    await t.rejects(bare.router(jwt, method, request), { code, details }, `${method} ${details}`)
  }
  await bare.router(jwt, 'TaskExecStart', { taskId, execId: 'ends', commandArgs: ['true'] })
  await bare.router(jwt, 'TaskExecWait', { taskId, execId: 'ends' })
  const late = bare.router(jwt, 'TaskExecStdinWrite', { taskId, execId: 'ends', data: Buffer.from('late') })
  await t.rejects(late, { code: status.FAILED_PRECONDITION })

  await sandbox.terminate({ wait: true })
  await t.rejects(bare.router(jwt, 'TaskReloadVolumes', { taskId }), { code: status.NOT_FOUND })
  await t.rejects(bare.control('SandboxSetName', { sandboxId, name: 'late' }), { code: status.FAILED_PRECONDITION })
  const { sandboxes } = await bare.control('SandboxListV2', { appId, includeFinished: true })
  t.match(sandboxes, [{ id: sandboxId, taskInfo: { result: { status: 3, exitcode: 137 } } }])
})

t.test('a token that has expired, or was made for something else, opens nothing', { skip }, async (t) => {
  const modal = emulator.modal()
  const app = await modal.apps.fromName('tokens', { createIfMissing: true })
  const sandbox = await creator(modal, app, await modal.images.fromRegistry('local').build(app))()
  const { taskId } = await bare.task(sandbox.sandboxId)
  const { signingKey } = JSON.parse(await readFile(join(emulator.dataDir, 'credentials.json'), 'utf8'))
  const sign = (expires: number, audience: string, key = signingKey) => new SignJWT()
    .setProtectedHeader({ alg: 'HS256' }).setSubject(taskId).setAudience(audience).setExpirationTime(expires)
    .sign(Buffer.from(key, 'base64url'))
  const now = Math.floor(Date.now() / 1000)
  const poll = (jwt: string) => bare.router(jwt, 'TaskExecPoll', { taskId, execId: 'none' })
  await t.rejects(poll(await sign(now + 60, 'task')), { code: status.NOT_FOUND }, 'a good one gets through')
  for (const jwt of [await sign(now - 1, 'task'), await sign(now + 60, 'client'), await sign(now + 60, 'task', 'AAAA')]) {
    await t.rejects(poll(jwt), { code: status.UNAUTHENTICATED })
  }
  const brief = await sign(now + 2, 'task')
  await t.rejects(poll(brief), { code: status.NOT_FOUND })
  await new Promise((resolve) => setTimeout(resolve, 3000))
  await t.rejects(poll(brief), { code: status.UNAUTHENTICATED }, 'also when its signature was checked before')
})

t.test('ephemeral secrets can be deleted, named ones only in the configuration', async (t) => {
  const { secretId } = await bare.control('SecretGetOrCreate', { objectCreationType: 5, envDict: { A: '1' } })
  await bare.control('SecretDelete', { secretId })
  await t.rejects(bare.control('SecretDelete', { secretId }), { code: status.NOT_FOUND })
  const named = await bare.control('SecretGetOrCreate', { deploymentName: 'alpha' })
  await t.rejects(bare.control('SecretDelete', { secretId: named.secretId }), { code: status.FAILED_PRECONDITION })
})

t.test('V1 output: characters are whole while it grows, and a poll that times out goes on where it was', { skip }, async (t) => {
  const modal = emulator.modal('V1')
  const app = await modal.apps.fromName('logs', { createIfMissing: true })
  const create = creator(modal, app, await modal.images.fromRegistry('local').build(app))
  const script = 'printf "a\\303"; read go; printf "\\251\\360\\237"; read go; printf "\\230\\200\\377"'
  const sandbox = await create({ command: ['sh', '-c', script] })
  const { sandboxId } = sandbox
  let lastEntryId = '0-0'
  const texts: string[] = []
  const follow = async (timeout: number) => {
    for await (const { entryId, items, eof } of bare.stream('SandboxGetLogs', { sandboxId, fileDescriptor: 1, timeout, lastEntryId })) {
      lastEntryId = entryId
      texts.push(...items.map((item: { data: string }) => item.data))
      if (eof) return true
    }
    return false
  }
  t.equal(await follow(1), false)
  t.same([texts.join(''), lastEntryId], ['a', '1-0'])
  await bare.control('SandboxStdinWrite', { sandboxId, input: Buffer.from('\n'), index: 1 })
  await bare.control('SandboxStdinWrite', { sandboxId, input: Buffer.from('\n'), index: 1 })
  t.equal(await follow(1), false)
  t.same([texts.join(''), lastEntryId], ['a\u00e9', '3-0'])
  const rest = follow(55)
  await bare.control('SandboxStdinWrite', { sandboxId, input: Buffer.from('\n'), index: 2 })
  t.equal(await rest, true)
  t.same([texts.join(''), lastEntryId], ['a\u00e9\u{1f600}\ufffd', '8-0'])
  const unknown = drain(bare.stream('SandboxGetLogs', { sandboxId, fileDescriptor: 3 }))
  await t.rejects(unknown, { code: status.INVALID_ARGUMENT })
  // Its output ends a moment before it does.
  await sandbox.wait()
  const late = bare.control('SandboxStdinWrite', { sandboxId, input: Buffer.from('x'), index: 3 })
  await t.rejects(late, { code: status.FAILED_PRECONDITION })
})

t.test('a deleted volume stays for the sandbox that uses it, its name is free at once', { skip }, async (t) => {
  const modal = emulator.modal()
  const app = await modal.apps.fromName('volumes', { createIfMissing: true })
  const create = creator(modal, app, await modal.images.fromRegistry('local').build(app))
  const volume = await modal.volumes.fromName('gone', { createIfMissing: true })
  const user = await create({ volumes: { '/data': volume } })
  await modal.volumes.delete('gone')
  t.equal((await run(user, ['sh', '-c', 'echo still > /data/f && cat /data/f'])).stdout, 'still\n')
  const again = await Promise.all([1, 2].map(() => modal.volumes.fromName('gone', { createIfMissing: true })))
  t.equal(again[0]!.volumeId, again[1]!.volumeId)
  t.not(again[0]!.volumeId, volume.volumeId)
  t.equal(await user.terminate({ wait: true }), 137)
})

t.test('an idle time of a month does not end a sandbox at once', async (t) => {
  const expired: string[] = []
  const lifetime = new Lifetime(31 * 86_400, 31 * 86_400, async (reason) => { expired.push(reason) })
  lifetime.begin()
  await new Promise((resolve) => setTimeout(resolve, 50))
  lifetime.end()
  t.same(expired, [])
})

t.test('of ended sandboxes the oldest are forgotten, and what they have printed with them', async (t) => {
  const registry = new SandboxRegistry()
  const discarded: string[] = []
  for (let index = 0; index < 502; index++) {
    const [id, definition] = [`sb-${index}`, { timeoutSecs: 1, volumeMounts: [] }]
    const container = { exited: Promise.resolve({ code: 0 }), discard: async () => { discarded.push(id) } }
    const info = { id, taskId: `ta-${index}`, definition } as unknown as SandboxInfo
    const sandbox = new Sandbox(info, [], async () => container as unknown as Container)
    registry.add(sandbox)
    await sandbox.ended
  }
  await new Promise(setImmediate)
  t.same(discarded, ['sb-0'])
  t.throws(() => registry.byId('sb-0'), { code: status.NOT_FOUND })
  t.equal(registry.byId('sb-1').running, false)
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

t.test('a start that fails says why and leaves nothing locked (9.2)', async (t) => {
  const dataDir = await mkdtemp(join(tmpdir(), 'emulator-test-'))
  t.teardown(() => rm(dataDir, { recursive: true, force: true }))
  for (const file of ['state.json', 'credentials.json']) {
    await writeFile(join(dataDir, file), '{"half')
    await t.rejects(testEmulator({ dataDir }), { message: new RegExp(`reading the emulator's .*${file}`) })
    await rm(join(dataDir, file))
  }
  const port = Number(new URL(emulator.url).port)
  await t.rejects(testEmulator({ dataDir, port }), { message: new RegExp(`binding the emulator to 127.0.0.1:${port}`) })
  const works = await testEmulator({ dataDir })
  await works.stop()
})

async function drain (stream: AsyncIterable<unknown>): Promise<number> {
  let count = 0
  for await (const item of stream) count += item === undefined ? 0 : 1
  return count
}
