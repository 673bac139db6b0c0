import type { ModalClient, Sandbox } from 'modal'
import t from 'tap'
import type { AppError } from '../../errors.js'
import type { Account } from '../../schemas/account.js'
import { appName, volumeName } from '../../services/modal/names.js'
import { Reaper } from '../../services/sandboxes/reaper.js'
import { SandboxService } from '../../services/sandboxes/service.js'
import { decodeTags } from '../../services/sandboxes/tags.js'
import { accountOf } from '../helpers/account.js'
import { eventually } from '../helpers/containers.js'
import { openEmulator, sdkClient } from '../helpers/emulator.js'
import { startModalProxy, type Call, type Fault } from '../helpers/modal-proxy.js'

const { emulator, skip } = await openEmulator(t)
const proxy = await startModalProxy(emulator.url)
t.teardown(proxy.close)
t.afterEach(() => proxy.use())

const log = { info () {}, warn () {}, error () {}, debug () {} }
const deployment = 'money'
const direct = emulator.modal()
const creates = (call: Call) => /^SandboxCreate(V2)?$/.test(call.method)
/** A look by name that finds nothing, as if the create had not been carried out yet. */
const unfound = ({ method }: Call): Fault | undefined =>
  /^SandboxGetFromName/.test(method) ? { kind: 'refused', status: 5 } : undefined
const terminations = () => proxy.calls.filter(({ method }) => method.startsWith('SandboxTerminate')).length

/** A replica of the service, with deadlines that a test can wait for. */
function replica ({ cpuMs = 60_000, buildMs = 60_000, maxThrottleWaitSecs = 20, family = 'V2' as 'V1' | 'V2' } = {}) {
  const client = sdkClient(proxy.url, emulator, family, { maxThrottleWaitSecs })
  return new SandboxService({
    client,
    log,
    image: { backend: 'local', claudeVersion: '1.0.0', claudeRegistry: 'http://registry.invalid' },
    timeouts: { timeoutMs: 120_000, idleTimeoutMs: 60_000 },
    deployment,
    deadlines: { buildMs, cpuMs, gpuMs: cpuMs }
  })
}

let accounts = 0
/** An account of its own for each test: nothing of another test is counted. */
const tenant = (limits: Partial<Account['limits']> = {}) => accountOf({ id: `tenant-${++accounts}`, limits })

/** What Modal itself says is running and paid for. */
async function runningOf (account: Account, client: ModalClient = direct) {
  const { appId } = await client.apps.fromName(appName(account.id), { createIfMissing: true })
  const running: Sandbox[] = []
  for await (const sandbox of client.sandboxes.list({ appId })) running.push(sandbox)
  return running
}

async function endAll (account: Account) {
  for (const sandbox of await runningOf(account)) await sandbox.terminate({ wait: true })
}

/** The answer or the error of a create. */
const outcome = async (creating: Promise<{ id: string }>) =>
  await creating.catch((error: AppError) => error) as { id: string } & AppError

function gate () {
  let open = () => {}
  const promise = new Promise<void>((resolve) => { open = resolve })
  return { promise, open: () => open() }
}

/** Waits for what has to become true. */
async function until (condition: () => boolean | Promise<boolean>) {
  if (!await eventually(async () => await condition(), 10_000)) throw new Error(`never true: ${condition}`)
}

t.test('money', { skip }, async (t) => {
  await t.test('more than an account allows is refused before anything is built, by name', async (t) => {
    const service = replica()
    const account = tenant({ gpus: ['T4', 'a100-80gb:2'], memoryMiB: 4096, timeoutMs: 600_000, idleTimeoutMs: 300_000 })
    const before = proxy.calls.length
    const image = { registry: 'local', dockerfileCommands: ['RUN sleep 60'] }
    for (const [spec, limit, asked, allowed] of [
      [{ cpu: 64 }, 'cpu', 64, 4],
      [{ cpu: 4.125 }, 'cpu', 4.125, 4],
      [{ memoryMiB: 4097 }, 'memoryMiB', 4097, 4096],
      [{ timeoutMs: 601_000 }, 'timeoutMs', 601_000, 600_000],
      [{ idleTimeoutMs: 301_000 }, 'idleTimeoutMs', 301_000, 300_000],
      ...['H100', 'h100:8', 'T4:2', 't4!:8', 'A100', 'A100-80GB:3', 'any', 'ANY:1'].map((gpu) =>
        [{ gpu }, 'gpus', gpu, account.limits.gpus] as const)
    ] as const) {
      await t.rejects(service.create(account, { ...spec, image }), {
        code: 'FORBIDDEN',
        statusCode: 403,
        step: 'policy',
        message: new RegExp(`limit for ${limit} is`),
        details: { limit, asked, allowed }
      }, JSON.stringify(spec))
    }
    t.equal(proxy.calls.length, before, 'Modal was not asked for anything')
    await t.rejects(service.create(tenant(), { gpu: 'T4' }), { code: 'FORBIDDEN', message: /gpus is none; you asked for T4/ })
    for (const gpu of ['t4', 'T4:1', 'A100-80GB:2', 'a100-80gb!']) {
      await t.rejects(service.create(account, { gpu }), { code: 'NOT_SUPPORTED', step: 'create' }, `${gpu} reaches Modal`)
    }
  })

  await t.test('CPU and memory limits are on the wire of every create, asked for or not', async (t) => {
    const service = replica()
    const account = tenant({ cpu: 3, memoryMiB: 3000 })
    for (const [spec, resources] of [
      [{}, { milliCpu: 1000, milliCpuMax: 2000, memoryMb: 2048, memoryMbMax: 3000 }],
      [{ cpu: 0.125, memoryMiB: 128 }, { milliCpu: 125, milliCpuMax: 250, memoryMb: 128, memoryMbMax: 256 }],
      [{ cpu: 3, memoryMiB: 3000 }, { milliCpu: 3000, milliCpuMax: 3000, memoryMb: 3000, memoryMbMax: 3000 }]
    ] as const) {
      await service.create(account, spec)
      t.match(proxy.calls.findLast(creates)!.request.definition.resources, resources)
    }
    const small = tenant({ cpu: 0.25, memoryMiB: 512, timeoutMs: 5000, idleTimeoutMs: 4000 })
    await service.create(small, {})
    t.match(proxy.calls.findLast(creates)!.request.definition, {
      resources: { milliCpu: 250, milliCpuMax: 250, memoryMb: 512, memoryMbMax: 512 },
      timeoutSecs: 5,
      idleTimeoutSecs: 4
    }, 'defaults are never more than the account may have')
    await Promise.all([account, small].map(endAll))
  })

  await t.test('every create is tagged as unfinished until it is ready, also one that needs no preparation', async (t) => {
    const service = replica()
    const account = tenant()
    for (const spec of [{}, { volume: { name: 'work' } }, { volume: { name: 'other' }, workdir: '/srv' }]) {
      const { id } = await service.create(account, spec)
      const sent: { tagName: string, tagValue: string }[] = proxy.calls.findLast(creates)!.request.tags
      const tags = Object.fromEntries(sent.map(({ tagName, tagValue }) => [tagName, tagValue]))
      t.ok(Date.parse(decodeTags(tags)!.preparing!) > Date.now())
      t.equal(decodeTags(await (await direct.sandboxes.fromId(id)).getTags())!.preparing, undefined)
    }
    await endAll(account)
  })

  for (const [kind, family] of [['held', 'V2'], ['delayed', 'V2'], ['held', 'V1'], ['delayed', 'V1']] as const) {
    await t.test(`a create whose answer comes after the deadline is terminated at once (${kind}, ${family})`, async (t) => {
      const { promise: release, open } = gate()
      const account = tenant()
      proxy.use((call) => creates(call) ? { kind, release } : unfound(call))
      const before = terminations()
      const answer = await outcome(replica({ cpuMs: 300, family }).create(account, {}))
      t.match(answer, { code: 'MODAL_TIMEOUT', step: 'create' })
      t.equal((await runningOf(account)).length, kind === 'held' ? 1 : 0)
      t.equal(terminations(), before)
      open()
      await until(() => terminations() > before)
      await until(async () => (await runningOf(account)).length === 0)
    })
  }

  await t.test('the place of a late create is taken until it is over', async (t) => {
    const { promise: release, open } = gate()
    const account = tenant({ sandboxes: 1 })
    const service = replica({ cpuMs: 300 })
    proxy.use((call) => creates(call) ? { kind: 'delayed', release } : undefined)
    t.match(await outcome(service.create(account, {})), { code: 'MODAL_TIMEOUT' })
    for (let again = 0; again < 3; again++) t.match(await outcome(service.create(account, {})), { code: 'LIMIT_REACHED' })
    proxy.use()
    open()
    await until(async () => (await outcome(service.create(account, {}))).id !== undefined)
    t.equal((await runningOf(account)).length, 1)
    await endAll(account)
  })

  for (const [where, other] of [['the same replica', false], ['another replica', true]] as const) {
    await t.test(`a late create is adopted by the retry with its Idempotency-Key, at ${where}`, async (t) => {
      const { promise: release, open } = gate()
      const account = tenant()
      const one = replica({ cpuMs: 300 })
      const options = { idempotencyKey: 'again' }
      proxy.use((call) => creates(call) ? { kind: 'held', release } : unfound(call))
      t.match(await outcome(one.create(account, {}, options)), { code: 'MODAL_TIMEOUT' })
      proxy.use()
      const retry = await (other ? replica() : one).create(account, {}, options)
      const before = terminations()
      const tagReads = () => proxy.calls.filter(({ method }) => method.startsWith('SandboxTagsGet')).length
      const read = tagReads()
      open()
      await until(() => tagReads() > read)
      t.equal((await one.get(account, retry.id)).status, 'running')
      t.strictSame((await runningOf(account)).map(({ sandboxId }) => sandboxId), [retry.id])
      t.equal(terminations(), before, 'the late answer does not end what the retry has adopted')
      await endAll(account)
    })
  }

  await t.test('a create whose answer was lost is found again by its own request', async (t) => {
    const account = tenant()
    proxy.use((call) => creates(call) ? { kind: 'lost' } : undefined)
    const { id } = await replica().create(account, {})
    t.strictSame((await runningOf(account)).map(({ sandboxId }) => sandboxId), [id])
    await endAll(account)
  })

  await t.test('what a replica leaves behind in the middle of a create is ended by the reaper of any other', async (t) => {
    const account = tenant()
    for (const spec of [{}, { volume: { name: 'work' } }]) {
      const died = gate()
      proxy.use((call) => creates(call) ? { kind: 'held', release: died.promise } : undefined)
      const creating = outcome(replica().create(account, spec))
      await until(async () => (await runningOf(account)).length === 1)
      const later = (minutes: number) => new Reaper({
        client: direct, log, deployment, mayOwn: () => true, now: () => Date.now() + minutes * 60_000
      })
      t.strictSame(await later(0).sweep(), [], 'not while it may be at work')
      t.match(await later(7).sweep(), [{ reason: 'unfinished' }])
      t.equal((await runningOf(account)).length, 0)
      proxy.use()
      died.open()
      await creating
    }
  })

  await t.test('a failed create that could not be terminated is terminated as soon as Modal can', async (t) => {
    const account = tenant()
    let refused = 0
    proxy.use(({ method }) => {
      if (!method.startsWith('SandboxTerminate') || refused > 0) return
      refused++
      return { kind: 'refused', status: 9 }
    })
    const answer = await outcome(replica().create(account, { workdir: '/etc/passwd/x' }))
    t.match(answer, { code: 'INVALID_SANDBOX', step: 'workdir' })
    t.equal(refused, 1)
    await until(async () => (await runningOf(account)).length === 0)
  })

  await t.test('concurrent creates with one key at two replicas are one sandbox, which both get', async (t) => {
    const account = tenant()
    const options = { idempotencyKey: 'both' }
    for (const spec of [{}, { volume: { name: 'work' } }, { name: 'mine' }]) {
      const key = { idempotencyKey: `${options.idempotencyKey}-${JSON.stringify(spec)}` }
      const answers = await Promise.all(Array.from({ length: 3 }, () => replica().create(account, spec, key)))
      t.equal(new Set(answers.map(({ id }) => id)).size, 1)
      const running = await runningOf(account)
      t.strictSame(running.map(({ sandboxId }) => sandboxId), [answers[0]!.id])
      t.equal(decodeTags(await running[0]!.getTags())!.preparing, undefined)
      await endAll(account)
    }
  })

  await t.test('a request that is repeated while it is carried out needs no second place', async (t) => {
    const account = tenant({ sandboxes: 1 })
    const service = replica()
    const again = async () => await outcome(service.create(account, {}, { idempotencyKey: 'again' }))
    const { promise: release, open } = gate()
    proxy.use((call) => creates(call) ? { kind: 'held', release } : undefined)
    const first = again()
    await until(() => proxy.calls.some(creates))
    const second = again()
    t.match(await outcome(service.create(account, {})), { code: 'LIMIT_REACHED' }, 'another request does')
    open()
    proxy.use()
    const answers = [await first, await second, ...await Promise.all(Array.from({ length: 4 }, again))]
    t.strictSame(answers.map(({ id }) => id), answers.map(() => answers[0]!.id))
    t.match(answers[0], { id: /^sb-/ })
    t.equal((await runningOf(account)).length, 1)
    await endAll(account)
  })

  await t.test('a sandbox whose create is not answered yet counts once', async (t) => {
    const account = tenant({ sandboxes: 2 })
    const service = replica()
    const { promise: release, open } = gate()
    proxy.use((call) => creates(call) ? { kind: 'held', release } : undefined)
    const first = service.create(account, {})
    await until(async () => (await runningOf(account)).length === 1)
    proxy.use()
    t.match(await outcome(service.create(account, {})), { id: /^sb-/ })
    t.match(await outcome(service.create(account, {})), { code: 'LIMIT_REACHED' })
    open()
    await first
    t.equal((await runningOf(account)).length, 2)
    await endAll(account)
  })

  await t.test('a failing attempt does not end what another replica has adopted', async (t) => {
    const account = tenant()
    const options = { idempotencyKey: 'adopted' }
    const slow = gate()
    let sets = 0
    // The first replica cannot mark it ready in time; meanwhile the second one adopts it.
    proxy.use(({ method }) => method.startsWith('SandboxTagsSet') && sets++ === 0
      ? { kind: 'delayed', release: slow.promise.then(() => { throw new Error('gone') }) }
      : undefined)
    const first = outcome(replica().create(account, { volume: { name: 'work' } }, options))
    await until(() => sets === 1)
    const second = await replica().create(account, { volume: { name: 'work' } }, options)
    slow.open()
    await first
    t.strictSame((await runningOf(account)).map(({ sandboxId }) => sandboxId), [second.id])
    await endAll(account)
  })

  await t.test('a throttled create ends with a clear answer, and nothing is created after it', async (t) => {
    const account = tenant()
    proxy.use((call) => creates(call) ? { kind: 'refused', status: 8, throttle: 0.4 } : undefined)
    const started = performance.now()
    const answer = await outcome(replica({ maxThrottleWaitSecs: 1 }).create(account, {}))
    t.match(answer, { code: 'MODAL_UNAVAILABLE', statusCode: 503, step: 'create', message: /limits how fast/ })
    t.match(answer.headers['retry-after'], /^\d+$/)
    t.ok(performance.now() - started < 3000)
    const tried = proxy.calls.filter(creates).length
    const isFirst = () => proxy.calls.filter(creates).length < tried + 2
    proxy.use((call) => creates(call) && isFirst() ? { kind: 'refused', status: 8, throttle: 0.2 } : undefined)
    t.match(await replica({ maxThrottleWaitSecs: 5 }).create(account, {}), { id: /^sb-/ }, 'a short throttling is waited for')
    await endAll(account)
  })

  await t.test('an account without a free place builds no image', async (t) => {
    const account = tenant({ sandboxes: 0 })
    const image = { registry: 'local', dockerfileCommands: ['RUN sleep 600'] }
    const before = proxy.calls.length
    const service = replica()
    const answers = await Promise.all(Array.from({ length: 20 }, () => outcome(service.create(account, { image }))))
    t.match(answers, Array(20).fill({ code: 'LIMIT_REACHED', step: 'limits' }))
    t.strictSame(proxy.calls.slice(before).filter(({ method }) => method.startsWith('Image')), [])
  })

  await t.test('concurrent builds count as sandboxes', async (t) => {
    const account = tenant({ sandboxes: 2 })
    const { promise: release, open } = gate()
    const service = replica()
    proxy.use(({ method }) => method === 'ImageGetOrCreate' ? { kind: 'held', release } : undefined)
    const build = (n: number) => outcome(service.create(account, { image: { registry: 'local', dockerfileCommands: [`RUN echo ${n}`] } }))
    const before = proxy.calls.length
    const builds = Array.from({ length: 10 }, (_, n) => build(n))
    await until(() => proxy.calls.slice(before).filter(({ method }) => method === 'ImageGetOrCreate').length === 2)
    open()
    const answers = await Promise.all(builds)
    t.equal(answers.filter(({ code }) => code === 'LIMIT_REACHED').length, 8)
    t.equal((await runningOf(account)).length, 2)
    await endAll(account)
  })

  await t.test('a build that outlives its request keeps its place until Modal says that it is over', async (t) => {
    const account = tenant({ sandboxes: 1 })
    const { promise: release, open } = gate()
    const service = replica({ buildMs: 300 })
    proxy.use(({ method }) => method === 'ImageGetOrCreate' ? { kind: 'held', release } : undefined)
    const image = { registry: 'local', dockerfileCommands: ['RUN echo late'] }
    t.match(await outcome(service.create(account, { image })), { code: 'MODAL_TIMEOUT', step: 'image' })
    const before = proxy.calls.length
    for (let again = 0; again < 3; again++) t.match(await outcome(service.create(account, { image })), { code: 'LIMIT_REACHED' })
    t.strictSame(proxy.calls.slice(before).filter(({ method }) => method.startsWith('Image')), [])
    proxy.use()
    open()
    await until(async () => (await outcome(service.create(account, {}))).id !== undefined)
    await endAll(account)
  })

  await t.test('one replica never exceeds the limit; a burst at several is bounded by the limit of each', async (t) => {
    const account = tenant({ sandboxes: 2 })
    const services = [replica(), replica()]
    await Promise.all(Array.from({ length: 8 }, (_, n) => outcome(services[n % 2]!.create(account, {}))))
    const { length } = await runningOf(account)
    t.ok(length >= 2 && length <= 4, `${length} for two replicas with a limit of 2`)
    for (const service of services) t.match(await outcome(service.create(account, {})), { code: 'LIMIT_REACHED' })
    await endAll(account)
  })

  await t.test('a sandbox that has ended at Modal does not count, and one in preparation counts once', async (t) => {
    const account = tenant({ sandboxes: 2 })
    const service = replica()
    const { promise: release, open } = gate()
    proxy.use(({ method }) => method.startsWith('SandboxTagsSet') ? { kind: 'held', release } : undefined)
    const first = service.create(account, {})
    await until(async () => (await runningOf(account)).length === 1)
    await until(() => proxy.calls.at(-1)!.method.startsWith('SandboxTagsSet'))
    proxy.use()
    const second = await service.create(account, {})
    t.match(await outcome(service.create(account, {})), { code: 'LIMIT_REACHED' })
    open()
    await first
    await (await direct.sandboxes.fromId(second.id)).terminate({ wait: true })
    t.match(await service.create(account, {}), { id: /^sb-/ })
    await endAll(account)
  })

  await t.test('volumes are counted at Modal, however they were made, and existing ones stay usable', async (t) => {
    const account = tenant({ volumes: 2, sandboxes: 50 })
    const volume = (name: string, service = replica()) => outcome(service.create(account, { volume: { name } }))
    await direct.volumes.fromName(volumeName(account.id, 'made-elsewhere'), { createIfMissing: true })
    // Neighbours whose names begin alike: they are not counted.
    for (const id of [`${account.id}0`, 'sha256']) {
      for (const name of ['a', 'b', 'c']) await direct.volumes.fromName(volumeName(id, name), { createIfMissing: true })
    }
    t.match(await volume('second'), { id: /^sb-/ })
    t.match(await volume('third'), {
      code: 'FORBIDDEN', statusCode: 403, step: 'volume', details: { limit: 'volumes', asked: 3, allowed: 2 }
    })
    await t.rejects(direct.volumes.fromName(volumeName(account.id, 'third')), /not found/)
    t.match(await volume('made-elsewhere'), { id: /^sb-/ })
    t.match(await volume('second'), { id: /^sb-/ })
    const burst = tenant({ volumes: 1, sandboxes: 50 })
    const service = replica()
    const answers = await Promise.all(['a', 'b', 'c', 'd'].map((name) => outcome(service.create(burst, { volume: { name } }))))
    t.equal(answers.filter(({ code }) => code === 'FORBIDDEN').length, 3)
    const hashed = accountOf({ id: 'An Account With A Digest', limits: { volumes: 1 } })
    t.match(await outcome(service.create(hashed, { volume: { name: 'a' } })), { id: /^sb-/ })
    t.match(await outcome(service.create(hashed, { volume: { name: 'b' } })), { code: 'FORBIDDEN' })
    await Promise.all([account, burst, hashed].map(endAll))
  })

  await t.test('more volumes than one page of Modal are all counted', async (t) => {
    const account = tenant({ volumes: 104 })
    for (let n = 0; n < 103; n++) await direct.volumes.fromName(volumeName(account.id, `v${n}`), { createIfMissing: true })
    t.match(await outcome(replica().create(account, { volume: { name: 'last' } })), { id: /^sb-/ })
    t.match(await outcome(replica().create(account, { volume: { name: 'more' } })), { code: 'FORBIDDEN', details: { asked: 105 } })
    await endAll(account)
  })

  await t.test("tags of an account are its own: none becomes one of the service's", async (t) => {
    const account = tenant()
    const { id } = await replica().create(account, {
      tags: { owner: 'acct-other', preparing: '2000-01-01T00:00:00Z', deployment: 'x', 'ms-record': 'x', 'ms-deployment': 'x' }
    })
    const tags = await (await direct.sandboxes.fromId(id)).getTags()
    t.match(decodeTags(tags), { owner: appName(account.id), deployment, preparing: undefined })
    t.strictSame(await new Reaper({ client: direct, log, deployment, mayOwn: () => true }).sweep(), [])
    await endAll(account)
  })
})
