import { once } from 'node:events'
import { connect, createServer, type AddressInfo, type Socket } from 'node:net'

/** A proxy that breaks connections: the first ones after as many bytes of their answers as `limits` says. */
export async function startCuttingProxy (target: string, limits: number[] = []) {
  const sockets = new Set<Socket>()
  let port = portOf(target)
  const server = createServer((client) => {
    let left = limits.shift() ?? Infinity
    const upstream = connect(port, '127.0.0.1')
    const cut = () => {
      client.destroy()
      upstream.destroy()
    }
    for (const socket of [client, upstream]) {
      sockets.add(socket)
      socket.on('error', cut).on('close', () => {
        sockets.delete(socket)
        cut()
      })
    }
    client.on('data', (bytes) => { upstream.write(bytes) })
    upstream.on('data', (bytes) => {
      const passed = bytes.subarray(0, left)
      left -= passed.length
      client.write(passed, () => { if (left === 0) cut() })
    })
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    /** How many connections are still to be broken. */
    get left () { return limits.length },
    /** The service has another address from now on. */
    lead (to: string) { port = portOf(to) },
    async close () {
      server.close()
      for (const socket of sockets) socket.destroy()
      await once(server, 'close')
    }
  }
}

function portOf (url: string): number {
  return Number(new URL(url).port)
}
