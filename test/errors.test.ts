import t from 'tap'
import { AppError, wrap } from '../errors.js'

t.test('An error keeps its chain of causes and names the step that failed (10.1, 8.10)', async (t) => {
  const error = wrap(wrap(new Error('connection refused'), 'app', 'MODAL_UNAVAILABLE'), 'create sandbox')
  t.match(error, { code: 'MODAL_UNAVAILABLE', statusCode: 503, step: 'create sandbox', message: 'Modal cannot be reached.' })
  t.match(error.cause, { code: 'MODAL_UNAVAILABLE', step: 'app', cause: { message: 'connection refused' } })
})

t.test('An AppError keeps the details and the hint it was given', async (t) => {
  t.match(new AppError('RUN_ACTIVE', { details: { runId: 'run_1' }, hint: 'Look.' }), { statusCode: 409, hint: 'Look.', details: { runId: 'run_1' } })
})
