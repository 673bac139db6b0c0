import { status } from '@grpc/grpc-js'
import { createHash } from 'node:crypto'
import { readdir, realpath } from 'node:fs/promises'
import { basename } from 'node:path'
import t, { type Test } from 'tap'
import { Cgroups } from '../../../emulator/container/cgroups.js'
import { eventually } from '../../helpers/containers.js'
import { expectNothingUnexpected, localApp, openEmulator, sdkClient } from '../../helpers/emulator.js'
import { isolation } from '../../helpers/isolation.js'
import { run } from '../../helpers/sdk.js'

const { emulator, skip } = await openEmulator(t)
const cgroups = await Cgroups.find('limits-test')
const noGroups = (limit: 'memory' | 'cpu') => !cgroups.enforces(limit) && `this machine lets no control groups for ${limit} be made`

/** A client whose warnings are kept. */
function warned (t: Test, family?: 'V1' | 'V2') {
  const warnings: string[] = []
  const logger = { debug () {}, info () {}, error () {}, warn: (text: string) => { warnings.push(text) } }
  const modal = sdkClient(emulator.url, emulator, family, { logger })
  t.teardown(() => { modal.close() })
  return { modal, told: (pattern: RegExp) => warnings.filter((text) => pattern.test(text)) }
}

for (const family of ['V1', 'V2'] as const) {
  t.test(`${family}: a place that is chosen has no effect, and the SDK says so; one that does not exist is refused`, { skip }, async (t) => {
    const { modal, told } = warned(t, family)
    const { create } = await localApp(modal, 'places')
    const sandbox = await create({ cloud: 'aws', regions: ['us-east-1', 'us-west-2'], command: ['echo', 'here'], verbose: true })
    t.equal(await sandbox.wait(), 0)
    t.match(told(/no effect/), [/cloud aws and region us-east-1, us-west-2/])
    for (const region of ['us', 'eu-west', 'ap-northeast-1', 'us-central1', 'us-ashburn-1', 'eastus']) await create({ regions: [region] })
    await t.rejects(create({ cloud: 'invalid-cloud' }), { code: status.INVALID_ARGUMENT, message: /Invalid cloud: invalid-cloud/ })
    for (const region of ['invalid-region', 'us-', 'us-eest', '']) {
      await t.rejects(create({ regions: [region] }), { code: status.INVALID_ARGUMENT, message: /Invalid region/ }, region)
    }
  })
}

t.test('a proxy does not exist', async (t) => {
  await t.rejects(emulator.modal().proxies.fromName('none'), { name: 'NotFoundError', message: /Proxy 'none' not found/ })
})

t.test('a limit of memory holds for a command and what the sandbox started', { skip: skip || noGroups('memory') }, async (t) => {
  const { modal, told } = warned(t)
  const { create } = await localApp(modal, 'limits')
  const sandbox = await create({ memoryMiB: 64, memoryLimitMiB: 128 })
  t.match(told(/has no effect/), { length: 0 })
  const take = (mebibytes: number) => run(sandbox, ['perl', '-e', `$text = "x" x (${mebibytes} << 20); print length $text`])
  t.match(await take(32), { code: 0, stdout: String(32 << 20) })
  // gVisor's kernel is killed as a whole, and does not say how the command ended.
  t.match((await take(512)).code, isolation === 'runsc' ? 128 : 137)
  const whole = await create({ memoryMiB: 64, memoryLimitMiB: 128, command: ['perl', '-e', '$text = "x" x (512 << 20)'] })
  t.equal(await whole.wait(), isolation === 'runsc' ? 128 : 137)
})

t.test('a limit of CPUs holds for all that runs in a sandbox', {
  skip: skip || noGroups('cpu') || (isolation === 'runsc' && 'gVisor counts time by a clock of its own')
}, async (t) => {
  const { modal, told } = warned(t)
  const { create } = await localApp(modal, 'limits')
  const sandbox = await create({ cpu: 0.1, cpuLimit: 0.2 })
  t.match(told(/has no effect/), { length: 0 })
  // As much time of a CPU as it can get in 3 s: without a limit that would be about 3 s, or 6 with two.
  const burn = 'use Time::HiRes "time"; $end = time + 3; 1 while time < $end; print((times)[0] + (times)[1])'
  const [one, other] = await Promise.all([0, 1].map(() => run(sandbox, ['perl', '-e', burn])))
  const used = Number(one!.stdout) + Number(other!.stdout)
  t.ok(used > 0 && used < 1.5, `${used} s`)
})

for (const [limit, text] of [['memory', '128 MiB of memory'], ['cpu', '0.2 CPUs']] as const) {
  const holds = cgroups.enforces(limit) && `control groups for ${limit} can be made here`
  t.test(`the SDK says that a limit does not hold: ${limit}`, { skip: skip || holds }, async (t) => {
    const { modal, told } = warned(t)
    const { create } = await localApp(modal, 'limits')
    await create({ memoryMiB: 64, memoryLimitMiB: 128, cpu: 0.1, cpuLimit: 0.2 })
    t.equal(told(new RegExp(`${text} has no effect`)).length, 1)
  })
}

t.test('a running sandbox has control groups, and an ended one has none', {
  skip: skip || noGroups('memory') || noGroups('cpu')
}, async (t) => {
  const { create } = await localApp(emulator.modal(), 'limits')
  const sandbox = await create({ memoryMiB: 64, memoryLimitMiB: 128, cpu: 1, cpuLimit: 2 })
  const owner = createHash('sha256').update(await realpath(emulator.dataDir)).digest('hex').slice(0, 12)
  const groups = async () =>
    (await readdir('/sys/fs/cgroup', { recursive: true })).filter((name) => basename(name).includes(owner))
  await run(sandbox, ['true'])
  t.not((await groups()).length, 0)
  await sandbox.terminate({ wait: true })
  await emulator.stop()
  t.ok(await eventually(async () => (await groups()).length === 0), String(await groups()))
})

expectNothingUnexpected(t, emulator)
