import { EventEmitter } from 'node:events'
import type { IncomingMessage, Server } from 'node:http'
import type { Socket } from 'node:net'
import fastifyWebsocket from '@fastify/websocket'
import fp from 'fastify-plugin'

/** A message is input from a keyboard, or something pasted in parts. */
const maxPayload = 65_536

/**
 * WebSocket routes. With a listener for upgrades, Node takes every request with an `Upgrade` header away from the HTTP
 * server, and clients send `Upgrade: h2c` with ordinary requests (Java's HttpClient does so by default, curl with
 * `--http2`). Those are given back without the header, as a server may ignore it (RFC 9110, 7.8).
 */
export default fp(async (fastify) => {
  const upgrades = new EventEmitter() as Server
  await fastify.register(fastifyWebsocket, { options: { server: upgrades, maxPayload } })
  fastify.server.on('upgrade', (request, socket, head) => {
    if (request.method === 'GET' && request.headers.upgrade?.toLowerCase() === 'websocket') {
      upgrades.emit('upgrade', request, socket, head)
    } else {
      socket.unshift(Buffer.concat([withoutUpgrade(request), head]))
      fastify.server.emit('connection', socket as Socket)
    }
  })
}, { name: 'websocket', fastify: '5.x' })

/** The head of the request, as it would be sent by a client that does not want to upgrade. */
function withoutUpgrade ({ method, url, httpVersion, rawHeaders }: IncomingMessage): Buffer {
  const lines = [`${method} ${url} HTTP/${httpVersion}`]
  for (let index = 0; index < rawHeaders.length; index += 2) {
    const [name, value] = rawHeaders.slice(index, index + 2) as [string, string]
    if (/^(upgrade|http2-settings)$/i.test(name)) continue
    const kept = /^connection$/i.test(name) ? value.split(',').filter((option) => !/^\s*(upgrade|http2-settings)\s*$/i.test(option)).join() : value
    if (kept !== '') lines.push(`${name}: ${kept}`)
  }
  return Buffer.from(`${lines.join('\r\n')}\r\n\r\n`, 'latin1')
}
