import { once } from 'node:events'
import { createServer, type AddressInfo } from 'node:net'
import t from 'tap'
import { listenerAmong } from '../../../emulator/container/listeners.js'

/** Where this process is found when it listens on an address. */
async function found (host: string): Promise<string | undefined> {
  const server = createServer().listen(0, host)
  await once(server, 'listening')
  try {
    return await listenerAmong([process.pid], (server.address() as AddressInfo).port)
  } finally {
    server.close()
  }
}

t.test('A process is found on any address and on the usual one of loopback', async (t) => {
  t.equal(await found('0.0.0.0'), '127.0.0.1')
  t.equal(await found('127.0.0.1'), '127.0.0.1')
})

t.test('A process on another address of loopback is not found: the port of the usual one may be someone else\'s', async (t) => {
  t.equal(await found('127.0.0.2'), undefined)
  t.equal(await found('127.255.255.254'), undefined)
})
