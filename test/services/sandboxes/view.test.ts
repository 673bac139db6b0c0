import t from 'tap'
import type { EndReason } from '../../../schemas/sandbox.js'
import { statusOf } from '../../../services/sandboxes/view.js'

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
