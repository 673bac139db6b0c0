import { status } from '@grpc/grpc-js'
import { Probe, type Sandbox, type Tunnel } from 'modal'
import { once } from 'node:events'
import { readFile } from 'node:fs/promises'
import { get, request, type IncomingMessage } from 'node:http'
import { request as secureRequest } from 'node:https'
import { connect, createServer, type AddressInfo } from 'node:net'
import { join } from 'node:path'
import { connect as secureConnect } from 'node:tls'
import t from 'tap'
import { eventually } from '../../helpers/containers.js'
import { expectNothingUnexpected, localApp, openEmulator } from '../../helpers/emulator.js'
import { isolation } from '../../helpers/isolation.js'
import { freePort } from '../../helpers/port.js'

const { emulator, bare, skip } = await openEmulator(t)

/** In a sandbox: answers with the request's line and headers; an upgrade with what it is sent. */
const echo = (port: number) => ['node', '-e', `
  const server = require('http').createServer((request, answer) => {
    let body = ''
    request.on('data', (text) => { body += text }).on('end', () => {
      answer.writeHead(201, { 'set-cookie': ['a=1', 'b=2'] })
      answer.end(JSON.stringify({ method: request.method, url: request.url, headers: request.headers, body }))
    })
  })
  server.on('upgrade', (request, socket) => {
    socket.write('HTTP/1.1 101 Switching Protocols\\r\\nupgrade: websocket\\r\\nconnection: Upgrade\\r\\n\\r\\n')
    socket.write(String(request.headers['x-verified-user-data']) + request.url)
    socket.pipe(socket)
  })
  server.listen(${port}, '127.0.0.1')`]

/** In a sandbox: sends everything back, once the sender has finished. */
const backwards = (port: number) => ['node', '-e', `
  require('net').createServer({ allowHalfOpen: true }, (socket) => {
    const chunks = []
    socket.on('data', (chunk) => chunks.push(chunk)).on('end', () => socket.end(Buffer.concat(chunks).reverse()))
  }).listen(${port}, '0.0.0.0')`]

async function body (response: IncomingMessage): Promise<string> {
  let text = ''
  for await (const chunk of response) text += String(chunk)
  return text
}

for (const family of ['V1', 'V2'] as const) {
  t.test(`${family}: a tunnel takes TLS, and plain TCP if it was asked for, to a port of this sandbox`, { skip }, async (t) => {
    const { create } = await localApp(emulator.modal(family), 'tunnels')
    const [http, tcp] = [await freePort(), await freePort()]
    const readinessProbe = Probe.withTcp(http)
    const ports = { encryptedPorts: [http], unencryptedPorts: [tcp] }
    const sandbox = await create({ ...ports, command: echo(http), readinessProbe })
    const server = await sandbox.exec(backwards(tcp))
    await sandbox.waitUntilReady(60_000)
    const tunnels = await sandbox.tunnels()
    t.same(Object.keys(tunnels).map(Number).sort(), [http, tcp].sort())
    t.throws(() => tunnels[http]!.tcpSocket, { name: 'InvalidError' })

    const ca = await readFile(join(emulator.dataDir, 'tunnels', 'certificate.pem'), 'utf8')
    const outgoing = secureRequest(`${tunnels[http]!.url}/path?a=1`, { ca, method: 'PUT' })
    outgoing.end('sent')
    const [response] = await once(outgoing, 'response') as [IncomingMessage]
    t.match(JSON.parse(await body(response)), { method: 'PUT', url: '/path?a=1', body: 'sent' })

    const sent = Buffer.alloc(3_000_000, 'abc')
    const [host, port] = tunnels[tcp]!.tcpSocket
    const through = async (socket: ReturnType<typeof connect>) => {
      const chunks: Buffer[] = []
      socket.end(sent)
      for await (const chunk of socket) chunks.push(chunk as Buffer)
      return Buffer.concat(chunks)
    }
    const expected = Buffer.from(sent).reverse()
    t.ok(await eventually(async () =>
      (await through(connect({ host, port, allowHalfOpen: true })).catch(() => Buffer.alloc(0))).equals(expected)))
    const [tlsHost, tlsPort] = tunnels[tcp]!.tlsSocket
    t.ok((await through(secureConnect({ host: tlsHost, port: tlsPort, ca }))).equals(expected))

    await sandbox.terminate({ wait: true })
    await server.wait()
    await t.rejects(once(connect({ host, port }), 'connect'), { code: 'ECONNREFUSED' }, 'it is gone with its sandbox')
  })
}

t.test('who finds a sandbox by its name before it has started waits for its tunnels', { skip }, async (t) => {
  const { create } = await localApp(emulator.modal(), 'early')
  const port = await freePort()
  const creating = create({ name: 'early', unencryptedPorts: [port] })
  const find = async () => await bare.control('SandboxGetFromNameV2', { sandboxName: 'early', appName: 'early' })
  let found: { sandboxId: string } | undefined
  while (found === undefined) found = await find().catch(() => undefined)
  const { tunnels } = await bare.control('SandboxGetTunnelsV2', { sandboxId: found.sandboxId })
  t.match(tunnels, [{ containerPort: port }])
  await (await creating).terminate()
})

t.test('nobody is connected with what others on the machine listen on', { skip }, async (t) => {
  const { create } = await localApp(emulator.modal(), 'tunnels')
  const other = createServer((socket) => { socket.end('from outside') })
  other.listen(0, '127.0.0.1')
  await once(other, 'listening')
  t.teardown(() => { other.close() })
  const { port } = other.address() as AddressInfo
  const sandbox = await create({ unencryptedPorts: [port], readinessProbe: Probe.withTcp(port, { intervalMs: 100 }) })
  const neighbour = await create({ command: echo(await freePort()) })
  const aside = await sandbox.exec(['node', '-e', `
    require('net').createServer().listen(${port}, '127.0.0.2', () => console.log('listening'))`])
  await aside.stdout.getReader().read()
  const tunnel = (await sandbox.tunnels())[port]!
  const socket = connect({ host: tunnel.unencryptedHost!, port: tunnel.unencryptedPort! })
  let heard = ''
  for await (const chunk of socket) heard += String(chunk)
  t.equal(heard, '')
  await t.rejects(sandbox.waitUntilReady(2000), { name: 'TimeoutError' }, 'nor is it ready by them')
  const { url, token } = await sandbox.createConnectToken({ port })
  t.equal((await fetch(url, { headers: { authorization: `Bearer ${token}` } })).status, 502)
  await Promise.all([sandbox, neighbour].map((sandbox) => sandbox.terminate()))
})

t.test('a connect token lets HTTP in, in a header, the URL or a cookie, and tells who it is', { skip }, async (t) => {
  const { create } = await localApp(emulator.modal(), 'tunnels')
  const port = await freePort()
  const sandbox = await create({ command: echo(port), readinessProbe: Probe.withTcp(port, { intervalMs: 100 }) })
  await sandbox.waitUntilReady(60_000)
  const { url, token } = await sandbox.createConnectToken({ port, userMetadata: '{"user":"ann"}' })
  const ask = async (path: string, headers: Record<string, string> = {}) => {
    const [response] = await once(get(`${url}${path}`, { headers }), 'response') as [IncomingMessage]
    const text = await body(response)
    return { status: response.statusCode, cookies: response.headers['set-cookie'], ...response.statusCode === 201 && { seen: JSON.parse(text) } }
  }
  const inHeader = await ask('/a?b=c', { authorization: `Bearer ${token}`, 'X-Verified-User-Data': 'root', cookie: 'x=1' })
  t.match(inHeader, { status: 201, cookies: ['a=1', 'b=2'], seen: { url: '/a?b=c', headers: { 'x-verified-user-data': '{"user":"ann"}', cookie: 'x=1' } } })
  t.notMatch(JSON.stringify(inHeader.seen), token, 'the sandbox does not learn it')
  const inUrl = await ask(`/a?b=c&_modal_connect_token=${token}`, { authorization: 'Bearer own' })
  t.match(inUrl, { status: 201, seen: { url: '/a?b=c', headers: { authorization: 'Bearer own' } } })
  const cookie = inUrl.cookies!.find((text) => text.startsWith('_modal_connect_token'))!
  t.match(cookie, /HttpOnly/)
  t.match(await ask('/', { cookie: `x=1; ${cookie.split(';')[0]}` }), { status: 201, seen: { headers: { cookie: 'x=1' } } })
  t.equal((await fetch(url, { method: 'POST', body: 'x'.repeat(100_000), headers: { authorization: `Bearer ${token}` } })).status, 201)

  const elsewhere = await create()
  const wrong = await elsewhere.createConnectToken({ port })
  const otherPort = await sandbox.createConnectToken()
  for (const token of ['', 'x', wrong.token, otherPort.token]) t.equal((await ask('/', { authorization: `Bearer ${token}` })).status, 401)
  t.equal((await ask('/')).status, 401)
  await t.rejects(sandbox.createConnectToken({ userMetadata: 'x'.repeat(512) }), { code: status.INVALID_ARGUMENT })
  await t.rejects(sandbox.createConnectToken({ userMetadata: 'a\r\nb' }), { code: status.INVALID_ARGUMENT })
  await sandbox.terminate({ wait: true })
  await t.rejects(sandbox.createConnectToken(), { code: status.FAILED_PRECONDITION })
  await t.rejects(fetch(url))
})

t.test('a connect token opens a WebSocket; without one it is refused', { skip }, async (t) => {
  const { create } = await localApp(emulator.modal(), 'tunnels')
  const port = await freePort()
  const sandbox = await create({ command: echo(port), readinessProbe: Probe.withTcp(port, { intervalMs: 100 }) })
  await sandbox.waitUntilReady(60_000)
  const { url, token } = await sandbox.createConnectToken({ port, userMetadata: 'ann' })
  const upgrade = { connection: 'Upgrade', upgrade: 'websocket' }
  const outgoing = request(`${url}/socket?_modal_connect_token=${token}`, { headers: upgrade })
  outgoing.end()
  const [response, socket, head] = await once(outgoing, 'upgrade') as [IncomingMessage, import('node:net').Socket, Buffer]
  t.equal(response.statusCode, 101)
  let heard = head.toString()
  socket.on('data', (chunk) => { heard += String(chunk) })
  socket.write('hello')
  t.ok(await eventually(async () => heard === 'ann/sockethello'), heard)
  socket.destroy()
  const refused = request(`${url}/socket`, { headers: upgrade })
  refused.end()
  const [answer] = await once(refused, 'response') as [IncomingMessage]
  t.equal(answer.statusCode, 401)
})

t.test('only who is allowed may connect', { skip }, async (t) => {
  const { create } = await localApp(emulator.modal(), 'tunnels')
  const port = await freePort()
  const start = (inboundCidrAllowlist: string[]) => create({ inboundCidrAllowlist, unencryptedPorts: [port] })
  const [open, closed] = [await start(['10.0.0.0/8', '127.0.0.0/8']), await start(['10.0.0.0/8'])]
  await open.exec(echo(port))
  const ask = async (sandbox: Sandbox) => {
    const { unencryptedHost, unencryptedPort }: Tunnel = (await sandbox.tunnels())[port]!
    return await fetch(`http://${unencryptedHost}:${unencryptedPort}`).then(({ status }) => status, () => undefined)
  }
  t.ok(await eventually(async () => await ask(open) === 201))
  await open.terminate({ wait: true })
  await closed.exec(echo(port))
  const { url, token } = await closed.createConnectToken({ port })
  t.equal((await fetch(url, { headers: { authorization: `Bearer ${token}` } })).status, 403)
  t.equal(await ask(closed), undefined)
  await t.rejects(start(['10.0.0.0/40']), { code: status.INVALID_ARGUMENT, message: /Invalid CIDR: 10.0.0.0\/40/ })
})

t.test('a sandbox is not idle while a tunnel is in use', { skip }, async (t) => {
  const { create } = await localApp(emulator.modal(), 'tunnels')
  const port = await freePort()
  const readinessProbe = Probe.withTcp(port, { intervalMs: 100 })
  const command = backwards(port)
  const sandbox = await create({ command, unencryptedPorts: [port], idleTimeoutMs: 3000, readinessProbe })
  await sandbox.waitUntilReady(60_000)
  const { tcpSocket: [host, tcpPort] } = (await sandbox.tunnels())[port]!
  const socket = connect({ host, port: tcpPort })
  await once(socket, 'connect')
  await new Promise((resolve) => setTimeout(resolve, 5000))
  t.equal(await sandbox.poll(), null)
  socket.destroy()
  t.equal(await sandbox.wait(), 137)
})

t.test('a sandbox without a network has no ways in, and is ready by its own ports', { skip }, async (t) => {
  const { create } = await localApp(emulator.modal(), 'tunnels')
  const readinessProbe = Probe.withTcp(8080, { intervalMs: 100 })
  if (isolation === 'runsc') {
    const refused = create({ blockNetwork: true, readinessProbe })
    await t.rejects(refused, { code: status.UNIMPLEMENTED, message: /EMULATOR_RUNTIME=namespaces/ })
    return
  }
  const sandbox = await create({ blockNetwork: true, command: echo(8080), readinessProbe })
  await sandbox.waitUntilReady(60_000)
  await t.rejects(sandbox.createConnectToken(), { code: status.FAILED_PRECONDITION })
  t.same(await sandbox.tunnels(), {})
})

expectNothingUnexpected(t, emulator)
