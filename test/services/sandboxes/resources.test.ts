import t from 'tap'
import { planResources } from '../../../services/sandboxes/resources.js'
import { accountOf } from '../../helpers/account.js'

const defaults = { timeoutMs: 3_600_000, idleTimeoutMs: 600_000 }

t.test('What is not asked for is the default, or less where the account allows less', async (t) => {
  t.strictSame(planResources(accountOf({ id: 'a' }), {}, defaults), {
    ...defaults, cpu: 1, cpuLimit: 2, memoryMiB: 2048, memoryLimitMiB: 4096
  })
  const limits = { cpu: 0.5, memoryMiB: 512, timeoutMs: 60_000, idleTimeoutMs: 30_000 }
  t.strictSame(planResources(accountOf({ id: 'a', limits }), {}, defaults), { ...limits, cpuLimit: 0.5, memoryLimitMiB: 512 })
  t.match(planResources(accountOf({ id: 'a', limits }), limits, defaults), limits, 'the limit itself may be asked for')
})

t.test('A GPU is allowed by type and count, whatever the case', async (t) => {
  for (const [gpus, allowed, refused] of [
    [[], [], ['T4', 'any', 'ANY:8']],
    [['T4'], ['T4', 't4', 'T4:1', 'T4!'], ['T4:2', 'T40', 'A100', 'any', 'T4!:2']],
    [['h100:2', 'H100:4', 'L4'], ['H100:4', 'h100!:4', 'L4:1'], ['H100:5', 'L4:2', 'L40S', 'H200']],
    [['A100-80GB:8'], ['a100-80gb:8'], ['A100', 'A100-40GB']],
    [['*:2'], ['T4', 'H100:2', 'any'], ['T4:3']],
    [['A100*'], ['A100', 'A100-80GB'], ['H100', 'A100:2']]
  ] as const) {
    const account = accountOf({ id: 'a', limits: { gpus: [...gpus] } })
    for (const gpu of allowed) t.equal(planResources(account, { gpu }, defaults).gpu, gpu, `${gpus} allows ${gpu}`)
    for (const gpu of refused) {
      t.throws(() => planResources(account, { gpu }, defaults), { code: 'FORBIDDEN', details: { asked: gpu } }, `${gpus} refuses ${gpu}`)
    }
  }
})
