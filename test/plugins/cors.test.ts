import t from 'tap'
import { keys, skip, startService } from '../helpers/service.js'

const app = 'https://app.example.com'

t.test('pages of other origins', { skip }, async (t) => {
  const service = await startService({ CORS_ORIGINS: `${app}, https://other.example.com` })
  t.teardown(() => service.close())
  const closed = await startService()
  t.teardown(() => closed.close())
  const path = '/api/modal/sandbox'
  const preflight = async (url: string, origin: string) => await fetch(url + path, {
    method: 'OPTIONS',
    headers: { origin, 'access-control-request-method': 'POST', 'access-control-request-headers': 'authorization,content-type' }
  })

  await t.test('A page of a listed origin may send what the API takes, and read what it answers', async (t) => {
    const asked = await preflight(service.url, app)
    t.equal(asked.status, 204)
    t.equal(asked.headers.get('access-control-allow-origin'), app)
    t.match(asked.headers.get('access-control-allow-methods'), /POST/)
    t.equal(asked.headers.get('access-control-allow-headers'), 'authorization,content-type')
    const answer = await service.request(path, { headers: { origin: app } })
    t.equal(answer.status, 200)
    t.equal(answer.headers.get('access-control-allow-origin'), app)
    t.match(answer.headers.get('access-control-expose-headers'), /x-request-id/)
    const refused = await fetch(service.url + path, { headers: { origin: app } })
    t.equal(refused.status, 401)
    t.equal(refused.headers.get('access-control-allow-origin'), app, 'it can read errors, too')
    const run = await service.request(`${path}/sb-01ARZ3NDEKTSV4RRFFQ69G5FAV/exec`, { json: { command: ['true'] }, method: 'POST', headers: { origin: app } })
    t.equal(run.headers.get('access-control-allow-origin'), app)
  })

  await t.test('A stream can be read by it, too', async (t) => {
    const { id } = await (await service.request(path, { method: 'POST', json: {} })).json() as { id: string }
    const stream = await service.request(`${path}/${id}/exec`, { method: 'POST', json: { command: ['echo', 'hello'] }, headers: { origin: app } })
    t.match(stream.headers.get('content-type'), /event-stream/)
    t.equal(stream.headers.get('access-control-allow-origin'), app)
    t.match(await stream.text(), /hello/)
  })

  await t.test('Nobody else may, and without a list nobody at all', async (t) => {
    for (const [url, origin] of [[service.url, 'https://evil.example.com'], [service.url, 'null'], [closed.url, app]] as const) {
      t.equal((await preflight(url, origin)).headers.get('access-control-allow-origin'), null)
      const answer = await fetch(url + path, { headers: { origin, authorization: `Bearer ${keys.alice}` } })
      t.equal(answer.headers.get('access-control-allow-origin'), null)
    }
  })

  await t.test('The cookie counts in requests of listed origins only', async (t) => {
    const signedIn = await fetch(`${service.url}/api/session`, {
      method: 'POST', body: JSON.stringify({ credential: keys.alice }), headers: { 'content-type': 'application/json' }
    })
    const cookie = signedIn.headers.getSetCookie()[0]!.split(';')[0]!
    const end = async (origin: string) => await fetch(`${service.url}${path}/sb-01ARZ3NDEKTSV4RRFFQ69G5FAV`, {
      method: 'DELETE', headers: { cookie, origin, 'sec-fetch-site': 'cross-site' }
    })
    t.equal((await end('https://evil.example.com')).status, 403)
    t.equal((await end(app)).status, 404)
  })
})
