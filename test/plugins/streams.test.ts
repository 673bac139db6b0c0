import { fastify } from 'fastify'
import fp from 'fastify-plugin'
import t from 'tap'
import streams from '../../plugins/streams.js'

t.test('Who would rather not wait says so among other preferences, in any case, and nothing else is taken for it', async (t) => {
  const app = fastify()
  await app.register(fp(async () => {}, { name: 'context' }))
  await app.register(streams, { heartbeatMs: 1000 })
  app.get('/', (request) => ({ async: request.prefersAsync() }))
  const asked = async (prefer?: string) =>
    (await app.inject({ url: '/', headers: { ...prefer !== undefined && { prefer } } })).json<{ async: boolean }>().async
  for (const prefer of ['respond-async', 'Respond-Async', 'wait=10, respond-async', 'respond-async; x=1, wait=5']) {
    t.equal(await asked(prefer), true, prefer)
  }
  t.equal(await asked(), false)
  for (const prefer of ['', 'wait=10', 'x-respond-async', 'respond-asynchronously', 'note="respond-async"']) {
    t.equal(await asked(prefer), false, prefer)
  }
  await app.close()
})
