import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { client, create, json, scripted } from '../helpers/asking.js'
import { readSse, skip, startService } from '../helpers/service.js'

t.test('Who follows a sandbox learns at once of its runs and of its end', { skip }, async (t) => {
  const service = await startService({ HEARTBEAT_MS: '500' })
  t.teardown(service.close)
  const { request } = service
  const id = await create(request)
  const path = `/api/modal/sandbox/${id}`
  const follow = async () => {
    const response = await request(path, { headers: { accept: 'text/event-stream' } })
    t.equal(response.status, 200)
    const events = readSse(response)
    /** The next change, and when it came. */
    return async () => {
      for (;;) {
        const { value } = await events.next()
        if (value?.event !== 'heartbeat') return { ...value, at: Date.now() }
      }
    }
  }
  const next = await follow()
  t.match(await next(), { event: 'sandbox', data: { id, status: 'running', activeRun: null } })

  const { runId, sessionId } = await json(client(request, id).start(
    { prompt: scripted([{ text: 'Hello.' }]), onDisconnect: 'continue' }, { headers: { prefer: 'respond-async' } }))
  t.match(await next(), { event: 'sandbox', data: { activeRun: { runId, sessionId } } })
  t.match(await next(), { event: 'sandbox', data: { status: 'running', activeRun: null } })
  await sleep(1200)
  t.match(await (await request(path)).json(), { id, status: 'running' }, 'a client that does not ask for a stream gets one answer')

  const second = await follow()
  t.match(await second(), { event: 'sandbox', data: { activeRun: null } })
  const sandbox = await service.app.modal.client.sandboxes.fromId(id)
  const endedAt = Date.now()
  await sandbox.terminate()
  for (const reader of [next, second]) {
    const ended = await reader()
    t.match(ended, { event: 'sandbox', data: { status: 'terminated', activeRun: null } })
    t.comment(`told after ${ended.at - endedAt} ms`)
    t.ok(ended.at - endedAt < 10_000, 'sooner than anybody would look again')
    t.match(await reader(), { event: undefined }, 'and that is the last')
  }
  const again = await follow()
  t.match(await again(), { data: { status: 'terminated' } })
  t.equal((await request('/api/modal/sandbox/sb-none', { headers: { accept: 'text/event-stream' } })).status, 404)
})
