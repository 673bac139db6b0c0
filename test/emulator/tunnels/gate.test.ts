import { once } from 'node:events'
import { createServer as createHttpServer, request, type IncomingMessage } from 'node:http'
import { createServer, type AddressInfo } from 'node:net'
import t from 'tap'
import { connectHere } from '../../../emulator/container/connector.js'
import { openGate } from '../../../emulator/tunnels/gate.js'

/** A gate to a server that answers every request with these bytes. */
async function gateTo (answer: string) {
  const server = createServer((socket) => {
    socket.on('error', () => {})
    socket.once('data', () => { socket.end(answer, 'latin1') })
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  const gate = await openGate({
    port,
    allows: () => true,
    connect: (port: number) => connectHere('127.0.0.1', port),
    userOf: async () => ({ metadata: '' })
  })
  const close = () => { gate.close(); server.close() }
  return { url: gate.url, close }
}

async function ask (url: string): Promise<{ status: number | undefined, text: string }> {
  const outgoing = request(url, { headers: { authorization: 'Bearer token' }, agent: false }).end()
  const [response] = await once(outgoing, 'response') as [IncomingMessage]
  let text = ''
  for await (const chunk of response) text += String(chunk)
  return { status: response.statusCode, text }
}

const answers = {
  'a status that does not exist': 'HTTP/1.1 000 x\r\ncontent-length: 2\r\n\r\nok',
  'a control character in the reason': 'HTTP/1.1 200 a\x01b\r\ncontent-length: 2\r\n\r\nok',
  'trailers that can\'t follow': 'HTTP/1.1 200 OK\r\ntrailer: x\r\ncontent-length: 2\r\n\r\nok',
  'an upgrade that nobody asked for': 'HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n',
  'something else than HTTP': 'SSH-2.0-server\r\n'
}

for (const [name, answer] of Object.entries(answers)) {
  t.test(`A server that answers ${name} is a bad gateway, and nothing ends`, async (t) => {
    const { url, close } = await gateTo(answer)
    t.teardown(close)
    for (let time = 0; time < 2; time++) t.equal((await ask(url)).status, 502)
  })
}

t.test('A server that answers properly is heard', async (t) => {
  const { url, close } = await gateTo('HTTP/1.1 299 Own words\r\ncontent-length: 2\r\n\r\nok')
  t.teardown(close)
  t.same(await ask(url), { status: 299, text: 'ok' })
})

t.test('A browser keeps the tokens of several gates, which are all on one host, and no server learns of any', async (t) => {
  const jar = new Map<string, string>()
  const gates = await Promise.all(['one', 'other'].map(async (token) => {
    const heard: IncomingMessage[] = []
    const server = createHttpServer((request, answer) => { heard.push(request); answer.end(token) }).listen(0, '127.0.0.1')
    await once(server, 'listening')
    const { port } = server.address() as AddressInfo
    const gate = await openGate({
      port,
      allows: () => true,
      connect: (port: number) => connectHere('127.0.0.1', port),
      userOf: async (given) => given === token ? { metadata: '' } : undefined
    })
    t.teardown(() => { gate.close(); server.close() })
    return { url: gate.url, token, heard }
  }))
  const browse = async (url: string) => {
    const answer = await fetch(url, { headers: { cookie: [...jar].map((pair) => pair.join('=')).join('; ') } })
    for (const text of answer.headers.getSetCookie()) jar.set(...text.split(';')[0]!.split('=') as [string, string])
    return await answer.text()
  }
  for (const { url, token } of gates) t.equal(await browse(`${url}/?_modal_connect_token=${token}`), token)
  for (const { url, token } of gates) t.equal(await browse(`${url}/script.js`), token)
  for (let port = 0; port < 150; port++) jar.set(`_modal_connect_token_${port}`, 'x'.repeat(200))
  t.equal(await browse(gates[0]!.url), 'one', 'nor do those of many others matter')
  for (const { headers } of gates.flatMap(({ heard }) => heard)) t.equal(headers.cookie, undefined)
})
