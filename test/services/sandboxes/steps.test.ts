import t from 'tap'
import { AppError } from '../../../errors.js'
import { callModal } from '../../../services/modal/call.js'
import type { CreationStep } from '../../../schemas/sandbox.js'
import { Steps } from '../../../services/sandboxes/steps.js'

t.test('A Modal that does not answer is a timeout, not a hung request', async (t) => {
  await t.rejects(callModal('app', 20, () => new Promise(() => {})), { code: 'MODAL_TIMEOUT', step: 'app' })
  const events: CreationStep[] = []
  const silent = { info () {}, warn () {}, error () {} }
  const steps = new Steps(silent, (event) => events.push(event))
  await t.rejects(steps.run('volume', async () => { throw new AppError('FORBIDDEN') }, { timeoutMs: 20 }),
    { code: 'FORBIDDEN', step: 'volume' })
  t.match(events, [{ step: 'volume', status: 'started' }, { step: 'volume', status: 'failed', durationMs: Number }])
})
