import { once } from 'node:events'
import { connect } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import sensible from '@fastify/sensible'
import { fastify } from 'fastify'
import t, { type Test } from 'tap'
import { WebSocket } from 'ws'
import websocket from '../../plugins/websocket.js'

/** A service with a WebSocket that sends its messages back, and a route that takes its time. */
async function start (t: Test, closing = async () => {}) {
  const app = fastify({ forceCloseConnections: true })
  await app.register(sensible)
  await app.register(websocket)
  app.route({
    method: 'GET',
    url: '/echo',
    handler: async () => 'no upgrade',
    wsHandler: (socket, { query }) => {
      if ((query as { paused?: string }).paused) socket.pause()
      socket.on('message', (data) => socket.send(data))
    }
  })
  app.get('/slow', async ({ url }) => { await sleep(200); return `slow ${url}` })
  app.post('/slow', async ({ headers, body }) => `${headers['x-empty']}|${(body as object[]).length}`)
  app.addHook('preClose', closing)
  await app.listen({ host: '127.0.0.1', port: 0 })
  const { port } = app.server.address() as { port: number }
  t.teardown(() => app.close())

  /** Sends bytes, and waits until what came matches. */
  async function ask (bytes: string, pattern: RegExp) {
    const socket = connect({ port, host: '127.0.0.1' })
    t.teardown(() => socket.destroy())
    let text = ''
    socket.on('data', (data) => { text += data.toString('latin1') })
    socket.on('error', () => {})
    socket.write(bytes)
    for (let tries = 0; tries < 250 && !pattern.test(text); tries++) await sleep(20)
    return { text, socket }
  }
  return { app, port, ask }
}

const request = (path: string, headers = '', method = 'GET', version = '1.1') =>
  `${method} ${path} HTTP/${version}\r\nhost: x\r\n${headers}\r\n`
const upgrade = 'connection: Upgrade\r\nupgrade: websocket\r\n' +
  'sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n'
const h2c = 'connection: Upgrade, HTTP2-Settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABkAAQAAP__\r\n'

t.test('An upgrade that comes before an earlier answer of its connection waits for that', async (t) => {
  const { ask } = await start(t)
  const both = await ask(request('/slow?1') + request('/slow?2', h2c) + request('/slow?3', h2c), /slow \/slow\?3/)
  t.match(both.text, /slow \/slow\?1[^]*slow \/slow\?2[^]*slow \/slow\?3/)
  const three = await ask(request('/slow?1') + request('/slow?2') + request('/echo', upgrade), / 101 /)
  t.match(three.text, /slow \/slow\?1[^]*slow \/slow\?2[^]*HTTP\/1\.1 101 /)
})

t.test('A client that leaves while its upgrade waits leaves no connection behind', async (t) => {
  const { app, ask } = await start(t)
  const { socket } = await ask(request('/slow') + request('/echo', upgrade), /^$/)
  socket.resetAndDestroy()
  const connections = async () => await new Promise((resolve) => {
    app.server.getConnections((_error, count) => resolve(count))
  })
  for (let tries = 0; tries < 250 && await connections() !== 0; tries++) await sleep(20)
  t.equal(await connections(), 0)
})

t.test('What is no upgrade to a WebSocket is answered as without the header', async (t) => {
  const { ask } = await start(t)
  t.match((await ask(request('/echo', upgrade, 'GET', '1.0'), /upgrade$/)).text, / 200 [^]*no upgrade$/, 'HTTP/1.0 has none')
  t.match((await ask(request('/echo', upgrade.replace(/connection.*\r\n/, '')), /upgrade$/)).text, / 200 /)
  t.match((await ask(request('/echo', 'connection: upgrade\r\n'), /upgrade$/)).text, / 200 /)
  t.match((await ask(request('/echo', upgrade, 'POST'), /}$/)).text, / 404 /)
  const body = JSON.stringify(new Array(150_000).fill(1234))
  const head = `${h2c}x-empty:\r\ncontent-type: application/json\r\ncontent-length: ${body.length}\r\n`
  const { text } = await ask(request('/slow', head, 'POST') + body + request('/slow'), /slow$/)
  t.match(text, /\r\n\|150000HTTP\/1\.1 200 [^]*slow \/slow$/)
})

t.test('Where there is no WebSocket an upgrade is refused', async (t) => {
  const { ask } = await start(t)
  t.match((await ask(request('/slow', upgrade), /}$/)).text, /^HTTP\/1\.1 400 [^]*no WebSocket at this path/)
  t.match((await ask(request('/nothing', upgrade), /}$/)).text, /^HTTP\/1\.1 404 /)
})

t.test('Clients that do not answer, or are not read, do not keep the service from closing', async (t) => {
  const { app, ask, port } = await start(t)
  await ask(request('/echo', upgrade), / 101 /)
  const paused = new WebSocket(`ws://127.0.0.1:${port}/echo?paused=1`)
  await once(paused, 'open')
  const started = Date.now()
  const [[code]] = await Promise.all([once(paused, 'close'), app.close()])
  t.equal(code, 1001)
  t.ok(Date.now() - started < 10_000)
})

t.test('An upgrade that comes while the service closes is answered, and does not keep it', async (t) => {
  let goOn = () => {}
  const { app, ask } = await start(t, async () => await new Promise<void>((resolve) => { goOn = resolve }))
  const { socket } = await ask('', /^/)
  const closed = app.close()
  await sleep(100)
  socket.write(request('/echo', upgrade))
  const [answer] = await once(socket, 'data')
  t.match(String(answer), /^HTTP\/1\.1 503 /)
  goOn()
  await closed
})
