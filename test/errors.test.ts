import Fastify from 'fastify'
import t from 'tap'
import { AppError, wrap } from '../errors.js'
import errors from '../plugins/errors.js'

t.test('An error keeps its chain of causes and names the step that failed (10.1, 8.10)', async (t) => {
  const error = wrap(wrap(new Error('connection refused'), 'app', 'MODAL_UNAVAILABLE'), 'create sandbox')
  t.match(error, { code: 'MODAL_UNAVAILABLE', statusCode: 503, step: 'create sandbox', message: 'Modal cannot be reached.' })
  t.match(error.cause, { code: 'MODAL_UNAVAILABLE', step: 'app', cause: { message: 'connection refused' } })
})

t.test('An AppError keeps the details and the hint it was given', async (t) => {
  t.match(new AppError('RUN_ACTIVE', { details: { runId: 'run_1' }, hint: 'Look.' }), { statusCode: 409, hint: 'Look.', details: { runId: 'run_1' } })
})

t.test('An error that the schema of its route does not have is answered, and noticed', async (t) => {
  const app = Fastify()
  await app.register(errors)
  const schema = { operationId: 'try', errors: ['RUN_ACTIVE'] as const }
  app.get('/declared', { schema }, async () => { throw new AppError('RUN_ACTIVE') })
  app.get('/masked', { schema }, async () => { throw new Error('any route may fail') })
  app.get('/undeclared', { schema }, async () => { throw new AppError('NO_VOLUME') })
  const codes = await Promise.all(['declared', 'masked', 'undeclared'].map(async (path) => (await app.inject(path)).json().code))
  t.strictSame(codes, ['RUN_ACTIVE', 'INTERNAL', 'NO_VOLUME'])
  t.strictSame([...app.undeclaredErrors], ['GET /undeclared NO_VOLUME'])
})
