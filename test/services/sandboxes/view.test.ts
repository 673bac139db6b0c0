import t from 'tap'
import type { EndReason } from '../../../schemas/sandbox.js'
import type { OwnedSandbox } from '../../../services/sandboxes/owned.js'
import { statusOf, viewOf } from '../../../services/sandboxes/view.js'

t.test('The reason says whether an end was expected, and without one the exit code (5.7)', async (t) => {
  const byCode = [0, 124, 137, 143, 1, 139].map((exitCode) => statusOf({ exitCode, reason: null }))
  t.strictSame([statusOf(null), ...byCode], ['running', 'terminated', 'terminated', 'terminated', 'terminated', 'error', 'error'])
  const byReason = (reason: EndReason) => [0, 137].map((exitCode) => statusOf({ exitCode, reason }))
  for (const reason of ['exited', 'terminated', 'timeout', 'idle_timeout'] as const) {
    t.strictSame(byReason(reason), ['terminated', 'terminated'], reason)
  }
  for (const reason of ['failed', 'start_failed', 'modal_failed', 'out_of_memory'] as const) {
    t.strictSame(byReason(reason), ['error', 'error'], reason)
  }
})

t.test('What a sandbox costs in an hour is estimated where all of it has a price', async (t) => {
  const prices = { cpuCoreHour: 0.1, memoryGiBHour: 0.01 }
  const seen = (resources?: OwnedSandbox['resources']) => viewOf({ resources } as OwnedSandbox, null, prices).resources
  const two = { cpu: 2, memoryMiB: 5120 }
  t.strictSame(seen(two), { ...two, gpu: null, usdPerHour: 0.25 })
  t.strictSame(seen({ ...two, gpu: 'T4' }), { ...two, gpu: 'T4', usdPerHour: null }, 'GPUs have no price here')
  t.strictSame(viewOf({ resources: two } as OwnedSandbox, null).resources, { ...two, gpu: null, usdPerHour: null })
  t.equal(seen(), null, 'records of earlier versions do not say')
})
