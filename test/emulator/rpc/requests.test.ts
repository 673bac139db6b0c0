import { status } from '@grpc/grpc-js'
import { NotFoundError } from 'modal'
import { randomBytes } from 'node:crypto'
import t from 'tap'
import { expectNothingUnexpected, localApp, openEmulator } from '../../helpers/emulator.js'
import { run } from '../../helpers/sdk.js'

const { emulator, bare, skip } = await openEmulator(t, { secrets: { alpha: { ALPHA: '1' } } })

/** Method, request, expected status and text. */
type Refusal = [string, object, status, RegExp]

t.test('what is asked wrongly is refused at once, with a status the SDK does not repeat (6.8)', { skip }, async (t) => {
  const modal = emulator.modal()
  const { app: { appId }, image, create: createSandbox } = await localApp(modal, 'wrong')
  const { imageId } = image
  const create = (definition: object, rest: object = {}): [string, object] =>
    ['SandboxCreateV2', { appId, definition: { imageId, timeoutSecs: 60, ...definition }, ...rest }]
  const build = (image: object): [string, object] => ['ImageGetOrCreate', { appId, image }]
  const sandbox = await createSandbox()
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
    [...create({ resources: { milliCpu: 2000, milliCpuMax: 1000 } }), wrong, /milli_cpu_max/],
    [...create({ resources: { memoryMb: 256, memoryMbMax: 128 } }), wrong, /memory_mb_max/],
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
    ['SecretGetOrCreate', { deploymentName: 'alpha', objectCreationType: 2 }, status.ALREADY_EXISTS, /already exists/],
    ['SecretGetOrCreate', { deploymentName: 'alpha', objectCreationType: 3 }, status.FAILED_PRECONDITION, /configuration/],
    ['SecretGetOrCreate', { deploymentName: 'beta', objectCreationType: 4 }, status.UNIMPLEMENTED, /creating a secret/],
    ['SecretGetOrCreate', { deploymentName: 'a b', objectCreationType: 1 }, wrong, /Invalid Secret name/],
    ['SecretGetOrCreate', { objectCreationType: 5, envDict: { '1A': 'x' } }, wrong, /'1A'/],
    ['SecretDelete', { secretId: 'st-none' }, status.NOT_FOUND, /st-none/],
    ['VolumeGetOrCreate', { deploymentName: 'v', objectCreationType: 1, version: 3 }, wrong, /version/],
    ['VolumeGetOrCreate', { deploymentName: 'v', objectCreationType: 3 }, status.UNIMPLEMENTED, /creating a volume/],
    ['VolumeGetOrCreate', { objectCreationType: 5, version: 3 }, wrong, /version/],
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
    [...exec({ containerId: 'side' }), status.NOT_FOUND, /Container with ID side/],
    ['TaskExecPoll', { taskId, execId: 'none' }, status.NOT_FOUND, /Exec with ID none/],
    ['TaskReloadVolumes', { taskId, containerId: 'side' }, status.NOT_FOUND, /Container with ID side/]
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

t.test('no function is deployed, and the first call of Python\'s SDK is answered', async (t) => {
  const modal = emulator.modal()
  await t.rejects(modal.functions.fromName('app', 'none'), { name: 'NotFoundError', message: /app\/none/ })
  await t.rejects(modal.cls.fromName('app', 'None'), { name: 'NotFoundError' })
  t.match(await bare.control('ClientHello', {}), { imageBuilderVersion: /^20\d\d\.\d\d$/, serverWarnings: { length: 0 } })
})

t.test('a repeated start, write or create is done once', { skip }, async (t) => {
  const modal = emulator.modal()
  const { app, image, create } = await localApp(modal, 'more')
  const sandbox = await create()
  const { taskId, jwt } = await bare.task(sandbox.sandboxId)
  const call = (method: string, request: object) => bare.router(jwt, method, { taskId, execId: 'twice', ...request })
  const start = { commandArgs: ['sh', '-c', 'cat >> /tmp/twice; wc -c < /tmp/twice > /tmp/size'], stdoutConfig: 1 }
  await Promise.all([call('TaskExecStart', start), call('TaskExecStart', start)])
  await call('TaskExecStdinWrite', { offset: 0, data: Buffer.from('abc') })
  await call('TaskExecStdinWrite', { offset: 0, data: Buffer.from('abc') })
  t.same(await call('TaskExecStdinStatus', {}), { numBytesWritten: 3, closed: false })
  await t.rejects(call('TaskExecStdinWrite', { offset: 5, data: Buffer.from('x') }), { code: status.OUT_OF_RANGE })
  await call('TaskExecStdinWrite', { offset: 1, data: Buffer.from('bcdef'), eof: true })
  t.same(await call('TaskExecWait', {}), { code: 0 })
  t.equal((await run(sandbox, ['cat', '/tmp/size'])).stdout.trim(), '6')

  const request = { appId: app.appId, definition: { imageId: image.imageId, timeoutSecs: 60 } }
  const key = { 'x-idempotency-key': randomBytes(8).toString('hex') }
  const [one, two] = await Promise.all([1, 2].map(() => bare.control('SandboxCreateV2', request, key)))
  t.equal(one.sandboxId, two.sandboxId)
})

t.test('apps exist only when made, environments too', async (t) => {
  const modal = emulator.modal()
  const app = await modal.apps.fromName('more', { createIfMissing: true })
  await t.rejects(modal.apps.fromName('nowhere'), { message: /App 'nowhere' not found/ })
  await t.rejects(modal.apps.fromName('more', { environment: 'dev' }), NotFoundError)
  t.equal((await modal.apps.fromName('more')).appId, app.appId)
})

t.test('ephemeral secrets can be deleted, named ones only in the configuration', async (t) => {
  const { secretId } = await bare.control('SecretGetOrCreate', { objectCreationType: 5, envDict: { A: '1' } })
  await bare.control('SecretDelete', { secretId })
  await t.rejects(bare.control('SecretDelete', { secretId }), { code: status.NOT_FOUND })
  const named = await bare.control('SecretGetOrCreate', { deploymentName: 'alpha' })
  await t.rejects(bare.control('SecretDelete', { secretId: named.secretId }), { code: status.FAILED_PRECONDITION })
})

t.test('V1 output: characters are whole while it grows, and a poll that times out goes on where it was', { skip }, async (t) => {
  const { create } = await localApp(emulator.modal('V1'), 'logs')
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
  // Until there is output: a busy machine may need longer than one poll waits.
  const followMore = async () => {
    for (const seen = texts.length; texts.length === seen;) t.equal(await follow(1), false)
  }
  await followMore()
  t.same([texts.join(''), lastEntryId], ['a', '1-0'])
  await bare.control('SandboxStdinWrite', { sandboxId, input: Buffer.from('\n'), index: 1 })
  await bare.control('SandboxStdinWrite', { sandboxId, input: Buffer.from('\n'), index: 1 })
  await followMore()
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

expectNothingUnexpected(t, emulator)

async function drain (stream: AsyncIterable<unknown>): Promise<number> {
  let count = 0
  for await (const item of stream) count += item === undefined ? 0 : 1
  return count
}
