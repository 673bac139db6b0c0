import { EventEmitter, once } from 'node:events'
import type { IncomingMessage, Server, ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import fastifyWebsocket from '@fastify/websocket'
import fp from 'fastify-plugin'

/** A message is input from a keyboard, or something pasted in parts. */
const maxPayload = 65_536
/** How long clients may take to say goodbye when the service stops, in milliseconds. */
const goodbyeMs = 1000
/** The service goes away (RFC 6455, 7.4.1). */
const goingAway = 1001

/**
 * WebSocket routes. With a listener for upgrades, Node takes every request with an `Upgrade` header away from the HTTP
 * server, and clients send `Upgrade: h2c` with ordinary requests (Java's HttpClient does so by default, curl with
 * `--http2`). Those are given back without the header, as a server may ignore it (RFC 9110, 7.8).
 */
export default fp(async (fastify) => {
  const upgrades = new EventEmitter() as Server
  const routes = new Set<string | undefined>()
  // Neither Node nor Fastify closes these.
  const sockets = new Set<Socket>()
  /** The answer to the latest request of each connection. */
  const answers = new WeakMap<Socket, ServerResponse>()
  let isClosing = false

  await fastify.register(fastifyWebsocket, {
    options: { server: upgrades, maxPayload },
    errorHandler: (error: Error & { code?: string }, socket, request) => {
      // A client that breaks the protocol is no fault of the service.
      const level = error.code?.startsWith('WS_ERR_') ? 'info' : 'error'
      request.log[level]({ err: error }, 'websocket broken')
      socket.terminate()
    },
    preClose: async () => {
      isClosing = true
      for (const client of fastify.websocketServer.clients) client.close(goingAway)
      fastify.websocketServer.close()
      setTimeout(() => { for (const socket of sockets) socket.destroy() }, goodbyeMs).unref()
    }
  })

  fastify.addHook('onRoute', ({ url, wsHandler }) => { if (wsHandler !== undefined) routes.add(url) })
  fastify.addHook('onRequest', async (request) => {
    if (!request.ws || request.is404 || routes.has(request.routeOptions.url)) return
    throw fastify.httpErrors.badRequest('There is no WebSocket at this path.')
  })

  fastify.server.on('request', ({ socket }, response) => { answers.set(socket, response) })
  fastify.server.on('upgrade', async (request: IncomingMessage, socket: Socket, head: Buffer) => {
    if (!sockets.has(socket)) socket.once('close', () => sockets.delete(socket))
    sockets.add(socket)
    await isAnswered(socket, answers.get(socket))
    if (socket.destroyed) return
    if (wantsWebSocket(request) && !isClosing) return upgrades.emit('upgrade', request, socket, head)
    socket.unshift(Buffer.concat([withoutUpgrade(request), head]))
    fastify.server.emit('connection', socket)
  })
}, { name: 'websocket', fastify: '5.x', dependencies: ['@fastify/sensible'] })

/** A client may send its next request before it has the answer to the last one (RFC 9112, 9.3.2). */
async function isAnswered (socket: Socket, latest: ServerResponse | undefined): Promise<void> {
  if (latest === undefined || latest.closed) return
  const onError = () => socket.destroy()
  socket.on('error', onError)
  await once(latest, 'close')
  socket.off('error', onError)
  // It is no idle connection any more.
  socket.setTimeout(0)
}

function wantsWebSocket ({ method, headers, httpVersion }: IncomingMessage): boolean {
  return method === 'GET' && httpVersion === '1.1' && headers.upgrade?.toLowerCase() === 'websocket'
}

/** The head of the request, as it would be sent by a client that does not want to upgrade. */
function withoutUpgrade ({ method, url, httpVersion, rawHeaders }: IncomingMessage): Buffer {
  const lines = [`${method} ${url} HTTP/${httpVersion}`]
  for (let index = 0; index < rawHeaders.length; index += 2) {
    const [name, value] = rawHeaders.slice(index, index + 2) as [string, string]
    if (/^(upgrade|http2-settings)$/i.test(name)) continue
    const kept = /^connection$/i.test(name) ? value.split(',').filter((option) => !/^\s*(upgrade|http2-settings)\s*$/i.test(option)).join() : value
    lines.push(`${name}: ${kept}`)
  }
  return Buffer.from(`${lines.join('\r\n')}\r\n\r\n`, 'latin1')
}
