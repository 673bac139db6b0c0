import { createServer, request, STATUS_CODES, type IncomingHttpHeaders, type IncomingMessage, type ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import { PassThrough } from 'node:stream'
import { sharedLoopback } from '../container/network.js'
import { listenForAll, type Target } from './tunnel.js'

/** Names the query parameter, and begins the name of the cookie. */
const tokenName = '_modal_connect_token'
const tokenCookie = new RegExp(`^${tokenName}(_\\d+)?=`)
const userHeader = 'x-verified-user-data'
/** As long as a sandbox lives at most, in seconds: the cookies of all gates come with each request. */
const cookieAge = 86_400
/** For as many cookies as a browser keeps of one host. */
const maxHeaderSize = 64 * 1024

interface Options extends Target {
  port: number
  /** What the creator of a token said of its user; undefined when the token is not for this port of this sandbox. */
  userOf: (token: string) => Promise<{ metadata: string } | undefined>
}

/**
 * Passes HTTP and WebSocket requests that have a connect token to one port of a sandbox, from a port of
 * {@link sharedLoopback}.
 */
export async function openGate (options: Options): Promise<{ url: string, close: () => void }> {
  const open = new Set<Socket>()
  const server = createServer({ requestTimeout: 0, maxHeaderSize }, (incoming, answer) => {
    pass(incoming, options).then((outgoing) => { answerWith(outgoing, incoming, answer) }, (error) => {
      refuse(error, answer)
    })
  })
  server.on('connection', (socket) => {
    open.add(socket)
    socket.once('close', () => { open.delete(socket) })
  })
  server.on('upgrade', (incoming, socket: Socket, head: Buffer) => {
    socket.on('error', () => { socket.destroy() })
    pass(incoming, options).then((outgoing) => { upgrade(outgoing, socket, head) }, (error) => {
      const { status, text } = error instanceof Refusal ? error : unreachable
      socket.end(`HTTP/1.1 ${status} ${text}\r\nconnection: close\r\ncontent-length: 0\r\n\r\n`)
    })
  })
  const port = await listenForAll(server)
  return {
    url: `http://${sharedLoopback}:${port}`,
    close () {
      server.close()
      for (const socket of open) socket.destroy()
    }
  }
}

class Refusal extends Error {
  readonly status: number
  readonly text: string

  constructor (status: number, text: string) {
    super(text)
    this.status = status
    this.text = text
  }
}

const unreachable = new Refusal(502, 'Nothing in the sandbox listens on this port')
const unusable = new Refusal(502, 'What the sandbox answered is not HTTP')

interface Outgoing {
  request: ReturnType<typeof request>
  /** For the browser, which got the token in the URL: later requests have it in the cookie. */
  cookie: string | undefined
}

/** The request to the sandbox, without the token, and with what is known of the user. @throws {Refusal} */
async function pass (incoming: IncomingMessage, { connect, allows, port, userOf }: Options): Promise<Outgoing> {
  if (!allows(incoming.socket.remoteAddress)) throw new Refusal(403, 'This address may not connect')
  const { tokens, url, headers } = withoutTokens(incoming)
  for (const { token, cookie } of tokens) {
    const user = await userOf(token)
    if (user === undefined) continue
    const socket = await connect(port)
    if (socket === undefined) throw unreachable
    // An Authorization header that is not the connect token is the application's own.
    if (headers.authorization === `Bearer ${token}`) delete headers.authorization
    headers[userHeader] = user.metadata
    const { method } = incoming
    return { request: request({ createConnection: () => socket, method, path: url, headers, setHost: false }), cookie }
  }
  throw new Refusal(401, 'A connect token is missing, wrong or for something else')
}

/** Every place where a token may be, and the request without the two places that are for tokens alone. */
function withoutTokens ({ url = '/', headers: given, socket: { localPort } }: IncomingMessage) {
  const [path, query = ''] = url.split(/\?(.*)/s)
  const parameters = query.split('&').filter(Boolean)
  const isToken = (pair: string) => pair.startsWith(`${tokenName}=`)
  // A token has no character that would have to be escaped.
  const valueOf = (pair: string) => pair.slice(pair.indexOf('=') + 1)
  const rest = parameters.filter((pair) => !isToken(pair))
  const headers: IncomingHttpHeaders = { ...given }
  const cookies = (given.cookie ?? '').split(';').map((pair) => pair.trim()).filter(Boolean)
  const others = cookies.filter((pair) => !tokenCookie.test(pair)).join('; ')
  if (others === '') delete headers.cookie
  else headers.cookie = others
  delete headers[userHeader]
  const bearer = /^Bearer (.+)$/i.exec(given.authorization ?? '')?.[1]
  const tokens: Array<{ token: string, cookie?: string }> = [
    ...bearer === undefined ? [] : [{ token: bearer }],
    // A browser gives the cookies of one gate to all: they are on one host, unlike Modal's.
    ...parameters.filter(isToken).map(valueOf).map((token) => ({ token, cookie: `${tokenName}_${localPort}=${token}` })),
    ...cookies.filter((pair) => tokenCookie.test(pair)).map((pair) => ({ token: valueOf(pair) }))
  ]
  return { tokens, url: rest.length > 0 ? `${path}?${rest.join('&')}` : path, headers }
}

function answerWith ({ request: outgoing, cookie }: Outgoing, incoming: IncomingMessage, answer: ServerResponse): void {
  outgoing.on('response', (response) => {
    const headers = [...response.rawHeaders]
    if (cookie !== undefined) headers.push('set-cookie', `${cookie}; Path=/; Max-Age=${cookieAge}; HttpOnly; SameSite=Lax`)
    response.on('error', () => { answer.destroy() })
    try {
      answer.writeHead(response.statusCode!, response.statusMessage, headers)
    } catch {
      // The parser of a client lets more pass (a status of 000) than a server may send.
      refuse(unusable, answer)
      return
    }
    response.pipe(answer)
  })
  outgoing.on('error', () => { refuse(unreachable, answer) })
  // Without an answer and an error: after an upgrade that nobody asked for.
  outgoing.on('close', () => { if (!answer.headersSent) refuse(unusable, answer) })
  answer.on('close', () => { outgoing.destroy() })
  // The client may have left meanwhile.
  if (answer.destroyed) outgoing.destroy()
  else incoming.pipe(outgoing)
}

function refuse (error: unknown, answer: ServerResponse): void {
  const { status, text } = error instanceof Refusal ? error : unreachable
  if (answer.headersSent) {
    answer.destroy()
    return
  }
  // Nothing is left out: a head that could not be written has left its reason and its length behind.
  const headers = { 'content-type': 'text/plain', 'content-length': Buffer.byteLength(text) }
  answer.writeHead(status, STATUS_CODES[status], headers).end(text)
}

function upgrade ({ request: outgoing }: Outgoing, socket: Socket, head: Buffer): void {
  // Only who reads notices that a client has left.
  const sent = socket.pipe(new PassThrough())
  const leave = () => { outgoing.destroy() }
  socket.once('end', leave).once('close', leave)
  const begin = (response: IncomingMessage, left: string[] = []) => {
    socket.off('end', leave)
    const lines = response.rawHeaders.flatMap((name, index, all) =>
      index % 2 === 0 && !left.includes(name.toLowerCase()) ? [`${name}: ${all[index + 1]}`] : [])
    socket.write([`HTTP/1.1 ${response.statusCode} ${response.statusMessage}`, ...lines, '', ''].join('\r\n'))
  }
  outgoing.on('upgrade', (response, target, first) => {
    begin(response)
    target.on('error', () => { socket.destroy() })
    target.on('close', () => { socket.destroySoon() })
    socket.on('close', () => { target.destroy() })
    socket.write(first)
    target.write(head)
    sent.pipe(target)
    target.pipe(socket)
  })
  outgoing.on('response', (response) => {
    // The end of the connection is the end of the answer.
    begin(response, ['connection', 'transfer-encoding'])
    response.pipe(socket)
  })
  outgoing.on('error', () => { socket.destroy() })
  if (socket.destroyed) outgoing.destroy()
  else outgoing.end()
}
