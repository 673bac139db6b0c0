import { createServer, type Server, type Socket } from 'node:net'
import { createServer as createTlsServer } from 'node:tls'
import { sharedLoopback } from '../container/network.js'
import type { Certificate } from './certificate.js'

export interface Target {
  /** A connection to a port of the sandbox; undefined when it does not listen itself. */
  connect: (port: number) => Promise<Socket | undefined>
  /** Whether one may connect from an address. */
  allows: (address: string | undefined) => boolean
}

interface Options extends Target {
  port: number
  /** Makes it an encrypted one. */
  tls?: Certificate & { protocols: string[] }
  /** The sandbox is not idle until the promise settles. */
  track: (activity: Promise<unknown>) => void
}

/** Passes TCP connections to one port of a sandbox, from a port of {@link sharedLoopback}; encryption ends here. */
export async function openTunnel (options: Options): Promise<{ port: number, close: () => void }> {
  const { tls, allows, track } = options
  const open = new Set<Socket>()
  const take = (socket: Socket) => {
    // An encrypted one may fail, or leave, before it gets here.
    socket.on('error', () => { socket.destroy() })
    if (!allows(socket.remoteAddress)) {
      socket.destroy()
      return
    }
    track(new Promise((resolve) => { socket.once('close', resolve) }))
    forward(socket, options).catch(() => { socket.destroy() })
  }
  const server = tls
    ? createTlsServer({ cert: tls.cert, key: tls.key, ALPNProtocols: tls.protocols, allowHalfOpen: true }, take)
    : createServer({ allowHalfOpen: true }, take)
  // Also what is still agreeing on its encryption, which ends with the connection below.
  server.on('connection', (socket: Socket) => {
    open.add(socket)
    socket.once('close', () => { open.delete(socket) })
  })
  const port = await listenForAll(server)
  return {
    port,
    close () {
      server.close()
      for (const socket of open) socket.destroy()
    }
  }
}

/** Each side may end its half first. Who is not listened to is hung up on, as on Modal. */
async function forward (socket: Socket, { connect, port }: Options): Promise<void> {
  const target = await connect(port)
  // Who connects may have left meanwhile.
  if (target === undefined || socket.destroyed) {
    socket.destroy()
    target?.destroy()
    return
  }
  target.on('error', () => { socket.destroy() })
  target.on('close', () => { socket.destroySoon() })
  socket.on('close', () => { target.destroy() })
  socket.pipe(target)
  target.pipe(socket)
}

/** @returns the port */
export async function listenForAll (server: Server): Promise<number> {
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen(0, sharedLoopback, resolve)
  })
  server.unref()
  const address = server.address()
  return typeof address === 'object' && address !== null ? address.port : 0
}
