import { connect, type AddressInfo } from 'node:net'
import Fastify from 'fastify'
import t from 'tap'
import errors, { handleClientError } from '../../plugins/errors.js'
import { ownTime } from '../helpers/own-time.js'

const app = Fastify({
  clientErrorHandler: handleClientError,
  http: { headersTimeout: 300, connectionsCheckingInterval: 100, requireHostHeader: false }
})
await app.register(errors)
app.get('/', async () => 'well')
app.get('/stream', async (_request, reply) => {
  reply.hijack()
  reply.raw.writeHead(200).write('first ')
  setTimeout(() => reply.raw.end('last'), 300)
})
await app.listen({ host: '127.0.0.1', port: 0 })
t.teardown(() => app.close())
const { port } = app.server.address() as AddressInfo

/** Sends everything before it reads, as many clients do. `broken` is the error that the client met. */
async function send (bytes: string, { endless = false } = {}) {
  let text = ''
  let broken: string | undefined
  await new Promise<void>((resolve) => {
    const socket = connect({ port, host: '127.0.0.1', allowHalfOpen: true })
    const more = () => { if (endless && !socket.destroyed) socket.write(bytes, () => setTimeout(more, 1)) }
    socket.on('error', (error: NodeJS.ErrnoException) => { broken = error.code })
    socket.on('close', () => resolve())
    socket.on('data', (chunk) => { text += chunk })
    socket.on('end', () => { if (!endless) socket.end() })
    socket.write(bytes, more)
  })
  const body = /\{.*\}$/s.exec(text)?.[0]
  return { status: Number(/^HTTP\/1\.1 (\d+)/.exec(text)?.[1]), code: body && JSON.parse(body).code, broken, text }
}

const head = 'GET / HTTP/1.1\r\nhost: x\r\n'
const many = Array.from({ length: 10_000 }, (_, index) => `x-header-${index}: ${'v'.repeat(100)}\r\n`).join('')
const refused: [string, string, number, string][] = [
  ['10,000 headers', `${head}${many}\r\n`, 431, 'HEADERS_TOO_LARGE'],
  ['17 KB of headers', `${head}x: ${'v'.repeat(17_000)}\r\n\r\n`, 431, 'HEADERS_TOO_LARGE'],
  ['a header of 8 MB', `${head}x: ${'v'.repeat(8_000_000)}`, 431, 'HEADERS_TOO_LARGE'],
  ['a long path', `GET /${'a'.repeat(100_000)} HTTP/1.1\r\n\r\n`, 431, 'HEADERS_TOO_LARGE'],
  ['no HTTP', '\x16\x03\x01 hello '.repeat(100_000), 400, 'BAD_REQUEST'],
  ['a broken chunk', `POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n${'q'.repeat(1_000_000)}`, 400, 'BAD_REQUEST'],
  ['headers that never end', head, 408, 'REQUEST_TIMEOUT']
]
for (const [what, bytes, status, code] of refused) {
  t.test(`The answer to ${what} arrives whole`, async (t) => {
    t.match(await send(bytes), { status, code, broken: undefined })
  })
}

t.test('The answer to 10,000 headers arrives at fetch, too', async (t) => {
  const headers = new Headers(Array.from({ length: 10_000 }, (_, index) => [`x-header-${index}`, 'value']))
  const answer = await fetch(`http://127.0.0.1:${port}/`, { headers })
  t.equal(answer.status, 431)
  t.match(await answer.json(), { code: 'HEADERS_TOO_LARGE' })
})

t.test('A client that does not stop sending is cut off', async (t) => {
  const time = ownTime()
  const { broken } = await send(`x: ${'v'.repeat(100_000)}`, { endless: true })
  t.match(broken, /ECONNRESET|EPIPE/)
  t.ok(time.stop() < 10_000)
})

t.test('What follows a request does not get into the answer to it', async (t) => {
  const socket = connect(port, '127.0.0.1')
  let text = ''
  socket.on('data', (chunk) => {
    if (text === '') socket.write('nonsense\r\n\r\n')
    text += chunk
  })
  socket.on('error', () => {})
  socket.write('GET /stream HTTP/1.1\r\nhost: x\r\n\r\n')
  await new Promise((resolve) => socket.on('close', resolve))
  t.equal(text.match(/HTTP\/1\.1/g)?.length, 1)
})
