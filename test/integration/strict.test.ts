import { setTimeout as sleep } from 'node:timers/promises'
import t, { type Test } from 'tap'
import type { AppError } from '../../errors.js'
import { appName } from '../../services/modal/names.js'
import { SandboxService } from '../../services/sandboxes/service.js'
import { accountOf } from '../helpers/account.js'
import { eventually } from '../helpers/containers.js'
import { testEmulator } from '../helpers/emulator.js'
import { isolation } from '../helpers/isolation.js'
import { ids } from '../helpers/sdk.js'
import { startService } from '../helpers/service.js'

// Each behaviour of the strict emulator alone, and harder than elsewhere in the tests.
const skip = process.env.TEST_LIVE === '1' && 'Modal is as strict as it is: on the emulator only'
const path = '/api/modal/sandbox'

/** A service on an emulator that is strict in this way. */
async function open (t: Test, strict: string, env: Record<string, string> = {}) {
  const service = await startService({ EMULATOR_STRICT: strict, ...env })
  t.teardown(async () => service.close())
  const call = async (method: string, url: string, json?: object) => {
    const response = await service.request(path + url, { method, ...(json && { json }), headers: { accept: 'application/json' } })
    const body = await response.json() as any
    return { status: response.status, body }
  }
  return {
    create: async (json: object = {}) => await call('POST', '', json),
    exec: async (id: string, script: string) => await call('POST', `/${id}/exec`, { command: ['sh', '-c', script] }),
    get: async (id = '') => await call('GET', id && `/${id}`),
    end: async (id: string) => await call('DELETE', `/${id}`)
  }
}

t.test('Sandboxes that are asked for faster than Modal creates them are created all the same', { skip }, async (t) => {
  const { create } = await open(t, 'throttle=2')
  const created = await Promise.all(Array.from({ length: 6 }, () => create()))
  t.same(created.map(({ status }) => status), Array(6).fill(200))
})

t.test('A create that takes longer than its deadline gives the sandbox that exists, or leaves none behind', { skip }, async (t) => {
  const emulator = await testEmulator({ strict: 'slow-creates=600' })
  t.teardown(() => emulator.stop())
  const client = emulator.modal()
  const service = new SandboxService({
    client,
    log: { info () {}, warn () {}, error () {} },
    image: { backend: 'local', claudeVersion: '1.0.0', claudeRegistry: 'http://registry.invalid' },
    timeouts: { timeoutMs: 120_000, idleTimeoutMs: 60_000 },
    deployment: 'strict',
    deadlines: { buildMs: 60_000, cpuMs: 3000, gpuMs: 3000 }
  })
  const account = accountOf({ id: 'slow', limits: { sandboxes: 50 } })
  const outcomes: Array<{ id?: string, code?: string }> = []
  for (let count = 1; count <= 14; count++) {
    const creating = service.create(account, { claude: false } as never)
    outcomes.push(await creating.catch((error: AppError) => ({ code: error.code })))
  }
  const { appId } = await client.apps.fromName(appName(account.id))
  t.ok(outcomes[6]!.id, 'the seventh was there, and only its answer was late')
  t.equal(outcomes[13]!.code, 'MODAL_TIMEOUT', 'the fourteenth was not')
  const known = outcomes.flatMap(({ id }) => id ?? []).sort()
  t.equal(known.length, 13)
  await sleep(4000)
  t.ok(await eventually(async () => (await ids(client.sandboxes.list({ appId }))).sort().join() === known.join()))
})

t.test('What was just created counts, though Modal lists it much later', { skip }, async (t) => {
  const { create, get, end } = await open(t, 'late-lists=600000')
  const volume = { name: 'late', exclusive: true }
  const { body: { id } } = await create({ volume })
  t.match((await get()).body.sandboxes, [{ id }])
  t.match(await create({ volume }), { status: 409, body: { code: 'VOLUME_IN_USE', sandboxes: [id] } })
  await end(id)
  t.same((await get()).body.sandboxes, [], 'nor is it listed when it has ended')
  t.equal((await create({ volume })).status, 200)
})

t.test('A sandbox that Modal has forgotten is missing, and what waited for it is told that it has ended', { skip }, async (t) => {
  const { create, exec, get, end } = await open(t, 'forgotten=1')
  const { body: { id } } = await create()
  const waiting = exec(id, 'sleep 300')
  t.match(await exec(id, 'echo here'), { body: { stdout: 'here\n' } })
  t.match(await end(id), { status: 200, body: { status: 'terminated' } })
  const { body } = await waiting
  t.not(body.exitCode, 0)
  t.match(await get(id), { status: 404, body: { code: 'SANDBOX_NOT_FOUND' } })
  t.match(await end(id), { status: 404 })
})

t.test('An idle time-out and a failed start are known from what Modal says, not from an exit code', { skip }, async (t) => {
  const { create, exec, get, end } = await open(t, 'told-ends')
  const { body: { id } } = await create({ idleTimeoutMs: 1000 })
  t.ok(await eventually(async () => (await get(id)).body.status !== 'running', 30_000))
  t.match((await get(id)).body, { status: 'terminated', reason: 'idle_timeout', exitCode: 0 })
  t.match(await exec(id, 'true'), { body: { code: 'SANDBOX_ENDED', reason: 'idle_timeout', message: /idle timeout/ } })

  const volume = { name: 'told', subPath: 'a/b' }
  const whole = await create({ volume: { name: 'told' }, workdir: '/workspace' })
  await exec(whole.body.id, 'touch /workspace/a')
  await end(whole.body.id)
  t.match(await create({ volume }), {
    status: 422, body: { code: 'INVALID_SANDBOX', message: /ended when it started \(start failed\)/, reason: 'start_failed' }
  })
})

t.test('An image whose ENTRYPOINT does not run its arguments is refused with that hint, or has ended; another one works', { skip }, async (t) => {
  const { create, exec, get } = await open(t, '0')
  const image = (last: string) => ({
    registry: 'local',
    dockerfileCommands: [`RUN printf '#!/bin/sh\\n${last}\\n' > /entry && chmod +x /entry`, 'ENTRYPOINT ["/entry"]'],
    claude: false
  })
  const made = await create({ image: image('true') })
  if (made.status !== 200) t.match(made, { status: 422, body: { code: 'INVALID_SANDBOX', message: /Check the entrypoint/ } })
  else {
    // Its first command was faster.
    while ((await get(made.body.id)).body.status === 'running') await new Promise((resolve) => setTimeout(resolve, 100))
    t.match((await get(made.body.id)).body, { status: 'terminated', reason: 'exited' })
  }
  const { body: { id } } = await create({ image: image('touch /entered; exec "$@"') })
  t.match(await exec(id, 'until [ -e /entered ]; do sleep 0.1; done'), { body: { exitCode: 0 } })
})

const withoutLimits = isolation === 'runsc' && 'gVisor does not show who uses how much memory'

t.test('A sandbox that has used up its memory says so', { skip: skip || withoutLimits }, async (t) => {
  const { create, exec, get } = await open(t, 'memory-limits=100')
  const { body: { id } } = await create({ memoryMiB: 128 })
  await exec(id, 'perl -e \'my $x = "x" x (400 << 20); sleep 60\'')
  t.ok(await eventually(async () => (await get(id)).body.status !== 'running', 30_000))
  t.match((await get(id)).body, { status: 'error', reason: 'out_of_memory' })
  t.match(await exec(id, 'true'), { body: { code: 'SANDBOX_ENDED', message: /memory was used up/ } })
})
