import { generateKeyPairSync, hkdfSync } from 'node:crypto'
import { once } from 'node:events'
import { createServer, type RequestListener } from 'node:http'
import type { AddressInfo, Socket } from 'node:net'
import { CompactEncrypt, EncryptJWT, SignJWT, exportJWK, generateKeyPair } from 'jose'
import type { ModalClient } from 'modal'
import t, { type Test } from 'tap'
import { buildApp } from '../../app.js'
import { parseConfig } from '../../config.js'
import { digest, randomId } from '../../lib/ids.js'
import { ModalEndedSessions } from '../../services/accounts/ended-sessions.js'
import { remoteKeys } from '../../services/accounts/remote-keys.js'
import { SignInLink } from '../../services/accounts/sign-in-link.js'
import { eventually } from '../helpers/containers.js'
import { testEmulator } from '../helpers/emulator.js'
import { ownTime } from '../helpers/own-time.js'

const keys = { acme: randomId('key'), replaced: randomId('key'), other: randomId('key') }
const jwtSecret = randomId('jwt').padEnd(40, 'x')
const account = (id: string, ...apiKeys: string[]) => ({ id, apiKeys: apiKeys.map((key) => `sha256:${digest(key)}`) })

const emulator = await testEmulator()
t.teardown(() => emulator.stop())

/** One replica of a service whose sandboxes are in the emulator. */
async function replica (t: Test, settings: Record<string, string> = {}) {
  const app = await buildApp(parseConfig({
    MODAL_SERVER_URL: emulator.url,
    MODAL_TOKEN_ID: emulator.tokenId,
    MODAL_TOKEN_SECRET: emulator.tokenSecret,
    ACCOUNTS: JSON.stringify([account('acme', keys.acme, keys.replaced), account('other', keys.other)]),
    JWT_SECRET: jwtSecret,
    ...settings
  }))
  t.teardown(() => app.close())
  const name = app.sessionCookie.name
  return {
    app,
    async signIn (credential: string) {
      const answer = await app.inject({ method: 'POST', url: '/api/session', payload: { credential } })
      return { status: answer.statusCode, body: answer.json(), cookie: answer.cookies[0]?.value ?? '' }
    },
    async with (cookie: string, headers: Record<string, string> = {}) {
      const { statusCode } = await app.inject({ url: '/api/modal/sandbox', headers, ...(cookie && { cookies: { [name]: cookie } }) })
      return statusCode
    },
    async signOut (cookie: string, headers: Record<string, string> = {}) {
      return await app.inject({ method: 'DELETE', url: '/api/session', headers, cookies: { [name]: cookie } })
    }
  }
}

t.test('A browser\'s session', async (t) => {
  const [first, second] = [await replica(t), await replica(t)]

  await t.test('is good at every replica, and holds no key', async (t) => {
    const { cookie } = await first.signIn(keys.acme)
    t.equal(await first.with(cookie), 200)
    t.equal(await second.with(cookie), 200)
    const [header, ...rest] = cookie.split('.').map((part) => Buffer.from(part, 'base64url').toString('latin1'))
    t.strictSame(JSON.parse(header!), { alg: 'dir', enc: 'A256GCM' })
    for (const secret of [keys.acme, digest(keys.acme), 'acme']) t.notOk([cookie, ...rest].join(' ').includes(secret))
  })

  await t.test('is no API key, and an API key or JWT is no session', async (t) => {
    const { cookie } = await first.signIn(keys.acme)
    t.equal(await first.with('', { authorization: `Bearer ${cookie}` }), 401)
    t.equal(await first.with('', { 'x-api-key': cookie }), 401)
    t.equal((await first.signIn(cookie)).status, 401, 'nor does it make another session')
    t.equal(await first.with(keys.acme), 401)
    t.equal(await first.with(await token('acme')), 401)
  })

  await t.test('ends on every replica when the browser signs out', async (t) => {
    const { cookie } = await first.signIn(keys.acme)
    const { cookie: neighbour } = await first.signIn(keys.acme)
    const out = await first.signOut(cookie)
    t.equal(out.statusCode, 200)
    t.match(out.headers['set-cookie'], /=; Max-Age=0/)
    t.equal(await first.with(cookie), 401)
    t.equal(await second.with(cookie), 401)
    t.equal((await second.signOut(cookie)).statusCode, 200, 'twice is as good as once')
    t.equal(await second.with(neighbour), 200, 'another browser of the account is still signed in')
    t.equal(await (await replica(t)).with(cookie), 401, 'after a restart, too')
  })

  await t.test('is not ended, nor used, by a page of another site', async (t) => {
    const { cookie } = await first.signIn(keys.acme)
    t.equal((await first.signOut(cookie, { 'sec-fetch-site': 'cross-site' })).statusCode, 403)
    t.equal(await first.with(cookie), 200)
  })

  await t.test('ends when its API key is removed, and when its account is', async (t) => {
    const session = async (credential: string) => (await first.signIn(credential)).cookie
    const [kept, removed, gone] = [await session(keys.acme), await session(keys.replaced), await session(keys.other)]
    const later = await replica(t, { ACCOUNTS: JSON.stringify([account('acme', keys.acme)]) })
    t.strictSame([await later.with(kept), await later.with(removed), await later.with(gone)], [200, 401, 401])
    const moved = await replica(t, { ACCOUNTS: JSON.stringify([account('other', keys.acme), account('acme', keys.replaced)]) })
    t.equal(await moved.with(kept), 401, 'a key that was moved to another account does not take its sessions along')
  })

  await t.test('made from a JWT ends with it, and with the account', async (t) => {
    const { cookie, body } = await first.signIn(await token('acme', Date.now() / 1000 + 3))
    t.match(body, { account: 'acme' })
    t.equal(await second.with(cookie), 200)
    const without = await replica(t, { JWT_SECRET: '' })
    t.equal(await without.with(cookie), 401, 'nor is it good where JWTs are not accepted')
    t.ok(await eventually(async () => await second.with(cookie) === 401))
    t.equal((await first.signIn(await token('nobody'))).status, 403)
  })

  await t.test('cannot be forged or changed, and is of one deployment', async (t) => {
    const { cookie } = await first.signIn(keys.acme)
    const parts = cookie.split('.')
    const claims = { sub: 'acme', jti: 'session_x', key: `sha256:${digest(keys.acme)}` }
    const forged = async (key: Uint8Array, enc = 'A256GCM', exp = Date.now() / 1000 + 60) =>
      await new EncryptJWT({ ...claims, exp }).setProtectedHeader({ alg: 'dir', enc }).encrypt(key)
    const real = new Uint8Array(hkdfSync('sha256', emulator.tokenSecret, '', 'session of modal-sandbox', 32))
    t.equal(await first.with(await forged(real)), 200, 'with the right key it would work, so the others fail for the right reason')
    const noExpiry = await new CompactEncrypt(Buffer.from(JSON.stringify(claims))).setProtectedHeader({ alg: 'dir', enc: 'A256GCM' }).encrypt(real)
    for (const [how, value] of [
      ['another key', await forged(new Uint8Array(32))],
      ['expired', await forged(real, 'A256GCM', Date.now() / 1000 - 60)],
      ['without expiry', noExpiry],
      ['another cipher', await forged(new Uint8Array(64), 'A256CBC-HS512')],
      ['a changed text', [...parts.slice(0, 3), `A${parts[3]!.slice(1)}B`, parts[4]].join('.')],
      ['a changed header', [Buffer.from('{"alg":"none"}').toString('base64url'), ...parts.slice(1)].join('.')],
      ['a changed tag', [...parts.slice(0, 4), 'A'.repeat(parts[4]!.length)].join('.')],
      ['signed with JWT_SECRET', await token('acme')],
      ['nonsense', 'a.b.c.d.e'], ['nothing', '.'], ['long', 'x'.repeat(8000)]
    ] as [string, string][]) t.equal(await first.with(value), 401, how)
    t.equal(await (await replica(t, { DEPLOYMENT: 'second' })).with(cookie), 401)
    t.equal(await (await replica(t, { SESSION_SECRET: randomId('s').padEnd(32, 'x') })).with(cookie), 401)
    t.equal((await first.signOut('a.b.c.d.e')).statusCode, 200)
  })
})

t.test('What Modal says of ended sessions', async (t) => {
  /** Modal's queues, as far as they are used. */
  const fake = { asked: 0, down: false, items: new Set<string>() }
  const queue = (name: string) => ({
    async len ({ partition }: { partition: string }) { return fake.items.has(`${name}/${partition}`) ? 1 : 0 },
    async put (_item: unknown, { partition }: { partition: string }) { fake.items.add(`${name}/${partition}`) }
  })
  const client = {
    queues: {
      async fromName (name: string) {
        fake.asked++
        if (fake.down) throw Object.assign(new Error('unavailable'), { name: 'ClientError', code: 14 })
        const { len, put } = queue(name)
        return { len: async (params: { partition: string }) => { fake.asked++; if (fake.down) throw new Error('down'); return await len(params) }, put }
      }
    }
  } as unknown as ModalClient
  const { now } = Date
  t.afterEach(() => { Date.now = now; fake.down = false })
  const pass = (seconds: number) => { const at = Date.now() + seconds * 1000; Date.now = () => at }

  await t.test('counts for at most 30 seconds, and concurrent requests share one question', async (t) => {
    const [here, there] = [new ModalEndedSessions(client), new ModalEndedSessions(client)]
    fake.asked = 0
    t.strictSame(await Promise.all(Array.from({ length: 20 }, () => here.has('acme', 'one'))), Array(20).fill(false))
    t.equal(fake.asked, 2, 'the queue is looked up, then read')
    await there.add('acme', 'one')
    t.equal(await there.has('acme', 'one'), true, 'at once where it was ended')
    pass(29)
    t.equal(await here.has('acme', 'one'), false)
    await new Promise((resolve) => setTimeout(resolve, 20))
    t.equal(await here.has('acme', 'one'), true, 'asked meanwhile, as the answer grew old')
    t.equal(await here.has('other', 'two'), false)
  })

  await t.test('is waited for: without Modal no session is accepted after 30 seconds, and none is called ended', async (t) => {
    const sessions = new ModalEndedSessions(client)
    await sessions.has('acme', 'three')
    fake.down = true
    t.equal(await sessions.has('acme', 'three'), false, 'what is known stays known')
    pass(31)
    await t.rejects(sessions.has('acme', 'three'), { code: /^MODAL_/, statusCode: /50[0-9]/ })
    await t.rejects(sessions.add('acme', 'three'), { code: /^MODAL_/ }, 'signing out fails in the open')
    fake.down = false
    t.equal(await sessions.has('acme', 'three'), false)
  })

  await t.test('is kept by account: nobody can fill the queue of another', async (t) => {
    await new ModalEndedSessions(client).add('a', 'x')
    t.ok(fake.items.has('acct-a.ended-sessions/x'))
  })
})

t.test('When Modal cannot be asked, the page does not hear that it is signed out', async (t) => {
  const { app, signIn, with: use, signOut } = await replica(t)
  const { cookie } = await signIn(keys.acme)
  const { queues } = app.modal.client
  const { fromName } = queues
  queues.fromName = async () => { throw Object.assign(new Error('unavailable'), { name: 'ClientError', code: 14 }) }
  t.equal(await use(cookie), 503)
  const status = await app.inject({ url: '/api/modal/status', cookies: { [app.sessionCookie.name]: cookie } })
  t.match(status.json(), { statusCode: 503, code: 'MODAL_UNAVAILABLE' })
  const out = await signOut(cookie)
  t.equal(out.statusCode, 503)
  t.equal(out.headers['set-cookie'], undefined, 'it can be repeated')
  t.equal(await use('', { 'x-api-key': keys.acme }), 200, 'API keys need no such question')
  queues.fromName = fromName
  t.equal(await use(cookie), 200)
})

t.test('The code of the sign-in link', async (t) => {
  const link = new SignInLink(keys.acme)
  t.equal(link.redeem(randomId('code')), undefined, 'a guess does not use it up')
  t.equal(link.redeem(link.code.slice(0, -1)), undefined)
  t.equal(link.redeem(link.code), keys.acme)
  t.throws(() => link.redeem(link.code), { code: 'UNAUTHENTICATED', message: /has been used/, hint: /API key.*restart/ })
})

/** A token of the service's own JWT_SECRET. */
async function token (sub: string, exp: number = Date.now() / 1000 + 60) {
  return await new SignJWT({ sub, exp: Math.floor(exp) }).setProtectedHeader({ alg: 'HS256' }).sign(new TextEncoder().encode(jwtSecret))
}

t.test('The keys of an identity provider', async (t) => {
  const { publicKey, privateKey } = await generateKeyPair('ES256')
  const good = JSON.stringify({ keys: [{ ...await exportJWK(publicKey), kid: 'one', alg: 'ES256' }] })
  const server = { asked: 0, answer: serve(good) }
  const http = createServer((request, response) => {
    server.asked++
    server.answer(request, response)
  }).listen(0, '127.0.0.1')
  await once(http, 'listening')
  t.teardown(() => { http.closeAllConnections(); http.close() })
  const url = `http://127.0.0.1:${(http.address() as AddressInfo).port}`
  const header = { alg: 'ES256', kid: 'one' }
  const body = { payload: '', signature: '' }
  const sign = async (kid: string, sub = 'acme') =>
    await new SignJWT({ sub }).setProtectedHeader({ alg: 'ES256', kid }).setExpirationTime('1m').sign(privateKey)

  await t.test('that is down, hangs, fails or answers anything else say nothing about a token: 503', async (t) => {
    const limits = { timeoutMs: 300, maxBytes: 10_000, pauseMs: 0 }
    const broken: Record<string, RequestListener> = {
      'no answer': () => {},
      'no end': (_request, response) => { response.writeHead(200).write('{"keys":[') },
      'closes the connection': (request) => request.socket.destroy(),
      'status 500': serve(good, 500),
      'status 404': serve(good, 404),
      'a redirect': (request, response) => { response.writeHead(302, { location: request.url === '/good' ? '' : '/good' }).end() },
      'not JSON': serve('<html>'),
      'half of it': serve(good.slice(0, -5)),
      nothing: serve(''),
      'no keys': serve('{}'),
      'keys that are none': serve('{"keys":[1,null]}'),
      'a list': serve('[]'),
      'a very long answer': serve(`{"keys":[],"x":"${'y'.repeat(20_000)}"}`),
      'an endless answer': (_request, response) => {
        const more = () => { while (!response.destroyed && response.write('x'.repeat(10_000))); }
        response.on('drain', more)
        more()
      }
    }
    for (const [name, answer] of Object.entries(broken)) {
      server.answer = answer
      const key = remoteKeys(url, limits)
      const time = ownTime()
      await t.rejects(async () => await key(header, body), { code: 'IDENTITY_UNAVAILABLE', statusCode: 503, hint: /JWT_JWKS_URL/ }, name)
      t.ok(time.stop() < 3000)
      server.answer = serve(good)
      t.ok(await key(header, body), 'and it recovers')
    }
    await t.rejects(async () => await remoteKeys('http://127.0.0.1:1', limits)(header, body), { code: 'IDENTITY_UNAVAILABLE' }, 'no server')
  })

  await t.test('are not asked for again and again by tokens that name unknown ones', async (t) => {
    server.answer = serve(good)
    server.asked = 0
    const key = remoteKeys(url)
    await key(header, body)
    for (let sent = 0; sent < 50; sent++) await t.rejects(async () => await key({ alg: 'ES256', kid: `made-up-${sent}` }, body), { code: 'ERR_JWKS_NO_MATCHING_KEY' })
    t.equal(server.asked, 1)
  })

  await t.test('are asked for once per pause while their server fails', async (t) => {
    server.answer = serve('', 500)
    server.asked = 0
    const key = remoteKeys(url)
    const ask = async () => await t.rejects(async () => await key(header, body), { code: 'IDENTITY_UNAVAILABLE', headers: { 'retry-after': '5' } })
    await Promise.all(Array.from({ length: 20 }, ask))
    for (let sent = 0; sent < 20; sent++) await ask()
    t.equal(server.asked, 1)
  })

  await t.test('do not hold up or turn away anybody else, while their server hangs', async (t) => {
    const hung: Socket[] = []
    server.answer = ({ socket }) => { hung.push(socket) }
    const { app, with: use } = await replica(t, { JWT_SECRET: '', JWT_JWKS_URL: url })
    const waiting = use('', { authorization: `Bearer ${await sign('one')}` })
    const time = ownTime()
    t.equal(await use('', { 'x-api-key': keys.acme }), 200)
    t.ok(time.stop() < 3000)
    t.equal((await app.inject({ url: '/healthz' })).statusCode, 200)
    for (const socket of hung) socket.destroy()
    t.equal(await waiting, 503)
    const refused = await app.inject({ url: '/api/modal/status', headers: { authorization: `Bearer ${await sign('one')}` } })
    t.match(refused.json(), { code: 'IDENTITY_UNAVAILABLE' }, 'the page does not hear that it is signed out')
    t.equal(refused.headers['retry-after'], '5')
  })

  await t.test('that cannot be used are not a fault of the token; a wrong signature is', async (t) => {
    const short = { ...generateKeyPairSync('rsa', { modulusLength: 1024 }).publicKey.export({ format: 'jwk' }), kid: 'short', alg: 'RS256' }
    server.answer = serve(JSON.stringify({ keys: [...JSON.parse(good).keys, short] }))
    const { with: use } = await replica(t, { JWT_SECRET: '', JWT_JWKS_URL: url })
    const bearer = (text: string) => ({ authorization: `Bearer ${text}` })
    t.equal(await use('', bearer(await sign('one'))), 200)
    t.equal(await use('', bearer(`${(await sign('one')).split('.').slice(0, 2).join('.')}.${'A'.repeat(86)}`)), 401)
    t.equal(await use('', bearer(await sign('unknown'))), 401)
    const head = Buffer.from('{"alg":"RS256","kid":"short"}').toString('base64url')
    t.equal(await use('', bearer(`${head}.${Buffer.from('{"sub":"acme","exp":9999999999}').toString('base64url')}.AAAA`)), 503)
  })
})

function serve (text: string, status = 200): RequestListener {
  return (_request, response) => { response.writeHead(status, { 'content-type': 'application/json', connection: 'close' }).end(text) }
}
