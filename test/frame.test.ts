import { once } from 'node:events'
import { connect, type AddressInfo } from 'node:net'
import sensible from '@fastify/sensible'
import { Type } from '@sinclair/typebox'
import Fastify from 'fastify'
import t from 'tap'
import { AppError, wrap } from '../errors.js'
import { digest } from '../lib/ids.js'
import { encodeEvent } from '../lib/sse.js'
import auth from '../plugins/auth.js'
import context from '../plugins/context.js'
import errors from '../plugins/errors.js'
import security from '../plugins/security.js'
import streams from '../plugins/streams.js'
import validation from '../plugins/validation.js'
import signIn from '../routes/sign-in.js'
import { strict } from '../schemas/common.js'
import { BrowserSessions, type EndedSessions } from '../services/accounts/browser-sessions.js'
import { AccountRegistry } from '../services/accounts/registry.js'
import { SignInLink } from '../services/accounts/sign-in-link.js'
import { accountOf } from './helpers/account.js'
import { eventually } from './helpers/containers.js'
import { ownTime } from './helpers/own-time.js'
import { readSse } from './helpers/sse.js'

const tokens = { secret: undefined, jwksUrl: undefined, issuer: undefined, audience: undefined, accountClaim: 'sub' }
const apiKeys = (key: string) => [`sha256:${digest(key)}`]
const limits = { sandboxes: 1, runs: 1, streams: 5, requestsPerMinute: 1000 }
const accounts = new AccountRegistry([
  accountOf({ id: 'acme', apiKeys: apiKeys('acme-key'), limits }),
  accountOf({ id: 'slow', apiKeys: apiKeys('slow-key'), limits: { ...limits, requestsPerMinute: 2 } })
], tokens)

const link = new SignInLink('acme-key')

function memory (): EndedSessions {
  const ended = new Set<string>()
  return { add: async (_account, id) => { ended.add(id) }, has: async (_account, id) => ended.has(id) }
}

/** The service's plugins around a few routes of this test. */
async function frame (t: { teardown: (fn: () => unknown) => unknown }, heartbeatMs = 10_000) {
  const lines: Record<string, any>[] = []
  const app = Fastify({
    logger: { level: 'info', stream: { write: (line: string) => { lines.push(JSON.parse(line)) } } },
    forceCloseConnections: true
  })
  for (const plugin of [sensible, context, errors, validation, security]) await app.register(plugin)
  const browserSessions = new BrowserSessions({ accounts, ended: memory(), secret: 'shared', deployment: 'test' })
  await app.register(auth, { accounts, browserSessions, secure: true })
  await app.register(streams, { heartbeatMs })
  await app.register(signIn, { link })
  await app.register(async (api) => {
    api.addHook('onRequest', api.requireAccount)
    const kind = Type.Optional(Type.Union([Type.Null(), Type.Integer()]))
    const way = Type.Optional(Type.Union([Type.Literal('in'), Type.Literal('out')]))
    const body = Type.Object({ name: Type.String({ maxLength: 3 }), kind, way }, strict)
    api.post('/echo/:id', { schema: { body } }, async (request) => ({ body: request.body, account: request.account.id }))
    api.delete('/echo/:id', async () => ({}))
    api.get('/broken', async () => { throw wrap(new Error('at /etc/secret-path'), 'reading') })
    api.get('/bare', async () => { throw new Error('password=hunter2') })
    api.get('/coded', async () => { throw new AppError('RUN_ACTIVE', { details: { runId: 'run_1' } }) })
    api.get('/events', async (_request, reply) => {
      const stream = reply.header('x-extra', 'kept').sse()
      await stream.send({ event: 'one', data: 'a\nb', id: 5 }, { event: 'two', data: { x: 1 } })
      await once(stream.signal, 'abort').catch(() => {})
    })
    api.get('/flood', async (_request, reply) => {
      const stream = reply.sse()
      for (let sent = 0; !stream.signal.aborted && sent < 1000; sent++) await stream.send({ event: 'x', data: 'y'.repeat(65536) })
      lines.push({ msg: 'flood ended' })
    })
  }, { prefix: '/api' })
  t.teardown(() => app.close())
  return { app, lines }
}
const acme = { authorization: 'Bearer acme-key' }

t.test('A request without a valid credential of any kind gets 401 (6.3)', async (t) => {
  const { app } = await frame(t)
  const payload = { name: 'a' }
  for (const headers of [{}, { authorization: 'Bearer nope' }, { authorization: 'acme-key' }, { 'x-api-key': 'nope' }]) {
    const answer = await app.inject({ method: 'POST', url: '/api/echo/1', headers, payload })
    t.match(answer.json(), { statusCode: 401, code: 'UNAUTHENTICATED', hint: /API key/, requestId: /.+/ })
  }
  for (const headers of [acme, { 'x-api-key': 'acme-key' }, { authorization: 'bearer acme-key' }]) {
    const answer = await app.inject({ method: 'POST', url: '/api/echo/1', headers, payload })
    t.match(answer.json(), { account: 'acme', body: payload })
  }
})

t.test('A browser signs in with a key or the link and gets a cookie that scripts cannot read', async (t) => {
  const { app } = await frame(t)
  let value = ''
  for (const credential of ['acme-key', link.code]) {
    const signIn = await app.inject({ method: 'POST', url: '/api/session', payload: { credential } })
    t.match(signIn.json(), { account: 'acme' })
    t.match(signIn.headers['set-cookie'], /^__Host-modal_sandbox_session=[^;]+; Path=\/; HttpOnly; Secure; SameSite=Strict$/)
    t.notMatch(signIn.headers['set-cookie'], 'acme')
    value = signIn.cookies[0]!.value
  }
  for (const credential of ['wrong', 'w\u00f6rong']) {
    t.equal((await app.inject({ method: 'POST', url: '/api/session', payload: { credential } })).statusCode, 401)
  }
  const cookies = { '__Host-modal_sandbox_session': value }
  const send = async (headers: Record<string, string | undefined>) =>
    await app.inject({ method: 'POST', url: '/api/echo/1', cookies, headers, payload: { name: 'a' } })
  t.equal((await send({ 'sec-fetch-site': 'same-origin' })).statusCode, 200)
  t.equal((await send({ origin: 'http://localhost', host: 'localhost' })).statusCode, 200)
  t.equal((await send({})).statusCode, 200, 'not from a browser')
  for (const headers of [{ 'sec-fetch-site': 'cross-site' }, { origin: 'http://evil.example' }, { origin: 'null' }]) {
    t.match((await send(headers)).json(), { code: 'FORBIDDEN' }, 'a page of another site')
  }
  const out = await app.inject({ method: 'DELETE', url: '/api/session', cookies })
  t.match(out.headers['set-cookie'], /^__Host-modal_sandbox_session=;/)
  t.equal((await send({})).statusCode, 401)
})

t.test('Invalid input is reported with its field, and nothing is coerced or dropped', async (t) => {
  const { app } = await frame(t)
  const cases: [unknown, RegExp][] = [
    [{ promtp: 'x', name: 'a' }, /body\.promtp is not a known field/], [{}, /body\.name is required/],
    [{ name: 1 }, /body\.name must be string/], [{ name: 'long' }, /body\.name must NOT have more than 3/],
    [{ name: null }, /body\.name must be string/], [{ name: 'a', kind: '3' }, /body\.kind must be/],
    [{ name: 'a', way: 'up' }, /body\.way must be one of in, out$/]
  ]
  for (const [payload, message] of cases) {
    const answer = await app.inject({ method: 'POST', url: '/api/echo/1', headers: acme, payload: payload as object })
    t.match(answer.json(), { statusCode: 400, code: 'BAD_REQUEST', message })
  }
  const nothing = await app.inject({ method: 'DELETE', url: '/api/echo/1', headers: { ...acme, 'content-type': 'application/json' } })
  t.equal(nothing.statusCode, 200, 'an empty body with a JSON content type is no body')
  const missing = await app.inject({ method: 'POST', url: '/api/echo/1', headers: { ...acme, 'content-type': 'application/json' } })
  t.match(missing.json(), { statusCode: 400, code: 'BAD_REQUEST', message: /^body/ })
  const broken = await app.inject({ method: 'POST', url: '/api/echo/1', headers: { ...acme, 'content-type': 'application/json' }, payload: '{' })
  t.equal(broken.statusCode, 400)
  const text = await app.inject({ method: 'POST', url: '/api/echo/1', headers: { ...acme, 'content-type': 'text/csv' }, payload: 'a' })
  t.match(text.json(), { code: 'UNSUPPORTED_MEDIA_TYPE' })
})

t.test('Clients get friendly errors, and the log gets each once, with its cause and ids (10.2, 10.6, 10.7)', async (t) => {
  const { app, lines } = await frame(t)
  for (const url of ['/api/broken', '/api/bare']) {
    const answer = await app.inject({ url, headers: acme })
    t.match(answer.json(), { statusCode: 500, code: 'INTERNAL', message: 'Something went wrong on our side.' })
    t.notMatch(answer.body, /secret-path|hunter2|at \//)
    t.equal(answer.headers['x-request-id'], answer.json().requestId)
  }
  const logged = lines.filter(({ msg }) => msg === 'request failed')
  t.equal(logged.length, 2)
  t.match(logged[0], { accountId: 'acme', step: 'reading', err: { message: /at \/etc\/secret-path/, stack: /frame\.test/ }, reqId: /.+/ })
  t.match((await app.inject({ url: '/api/coded', headers: acme })).json(), { statusCode: 409, code: 'RUN_ACTIVE', runId: 'run_1' })
  t.match((await app.inject({ url: '/nowhere' })).json(), { statusCode: 404, code: 'NOT_FOUND' })
})

t.test('The rate limit applies per address before authentication, and per account after it', async (t) => {
  const { app } = await frame(t)
  const first = await app.inject({ url: '/nowhere', headers: { authorization: 'Bearer guess' } })
  t.equal(first.headers['x-ratelimit-limit'], '3000')
  const answers = []
  for (let sent = 0; sent < 4; sent++) answers.push(await app.inject({ url: '/api/coded', headers: { 'x-api-key': 'slow-key' } }))
  t.strictSame(answers.map(({ statusCode }) => statusCode), [409, 409, 429, 429])
  t.match(answers[2]!.json(), { code: 'RATE_LIMITED', message: 'Your account may send 2 requests per minute.' })
  t.match(answers[2]!.headers['retry-after'], /^\d+$/)
  let last
  for (let sent = 0; sent < 3000; sent++) last = await app.inject({ url: '/nowhere', remoteAddress: '127.3.0.1' })
  t.equal(last?.statusCode, 404)
  const refused = await app.inject({ url: '/nowhere', remoteAddress: '127.3.0.1' })
  t.match(refused.json(), { statusCode: 429, code: 'RATE_LIMITED', message: /3000 requests per minute/, limit: 3000 })
  t.match(refused.headers['retry-after'], /^\d+$/)
})

t.test('A stream sends named events immediately, heartbeats, and headers set by other plugins (4.2, 4.3)', async (t) => {
  const { app, lines } = await frame(t, 100)
  const url = await app.listen({ port: 0, host: '127.0.0.1' })
  const response = await fetch(`${url}/api/events`, { headers: acme })
  t.match(Object.fromEntries(response.headers), {
    'content-type': /^text\/event-stream/,
    'cache-control': 'no-cache, no-transform',
    'x-accel-buffering': 'no',
    'x-extra': 'kept',
    'x-request-id': /.+/,
    'x-content-type-options': 'nosniff'
  })
  const received = []
  for await (const event of readSse(response)) {
    received.push(event)
    if (received.length === 3) break
  }
  t.match(received, [{ event: 'one', data: 'a\nb', id: '5' }, { event: 'two', data: { x: 1 } }, { event: 'heartbeat', data: { time: /^\d{4}-/ } }])
  while (!lines.some(({ msg }) => msg === 'stream closed')) await new Promise((resolve) => setTimeout(resolve, 10))
  t.match(lines.find(({ msg }) => msg === 'stream closed'), { accountId: 'acme', clientLeft: true }, 'opening and closing are logged (10.4)')
  t.throws(() => encodeEvent({ event: 'x\nevent: forged', data: 1 }), TypeError)
})

t.test('Closing the service notifies open streams, even when a client has stalled', async (t) => {
  const { app, lines } = await frame(t)
  const url = await app.listen({ port: 0, host: '127.0.0.1' })
  const socket = connect((app.server.address() as AddressInfo).port, '127.0.0.1')
  socket.write('GET /api/flood HTTP/1.1\r\nhost: x\r\nx-api-key: acme-key\r\n\r\n')
  await once(socket, 'readable')
  const response = await fetch(`${url}/api/events`, { headers: acme })
  const events = namesOf(response)
  await new Promise((resolve) => setTimeout(resolve, 100))
  const time = ownTime()
  await app.close()
  t.ok(time.stop() < 3000, 'in time')
  t.equal((await events).at(-1), 'shutdown')
  socket.destroy()
  t.ok(await eventually(async () => lines.some(({ msg }) => msg === 'flood ended')), 'the stalled producer has ended, too')
})

async function namesOf (response: Response) {
  const names: string[] = []
  for await (const { event } of readSse(response)) names.push(event)
  return names
}
