import { once } from 'node:events'
import { mkdtemp } from 'node:fs/promises'
import { request } from 'node:http'
import { connect, createServer, type AddressInfo, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { connect as secureConnect } from 'node:tls'
import t, { type Test } from 'tap'
import { connectHere } from '../../../emulator/container/connector.js'
import { hostTool, removeTree } from '../../../emulator/container/host.js'
import { sharedLoopback } from '../../../emulator/container/network.js'
import { openCertificate } from '../../../emulator/tunnels/certificate.js'
import { openGate } from '../../../emulator/tunnels/gate.js'
import { openTunnel } from '../../../emulator/tunnels/tunnel.js'
import { eventually } from '../../helpers/containers.js'

/** Stands for a sandbox that takes connections and says nothing. */
async function silentServer (t: Test) {
  const sockets: Socket[] = []
  const server = createServer((socket) => { sockets.push(socket.on('error', () => {}).resume()) })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => { for (const socket of sockets) socket.destroy(); server.close() })
  const target = { port: (server.address() as AddressInfo).port, connect: (port: number) => connectHere('127.0.0.1', port), allows: () => true }
  return { sockets, target }
}

t.test('Who leaves before an upgrade is answered takes the connection to the sandbox along', async (t) => {
  const { sockets, target } = await silentServer(t)
  const { url, close } = await openGate({ ...target, userOf: async () => ({ metadata: '' }) })
  t.teardown(close)
  const headers = { connection: 'Upgrade', upgrade: 'websocket', authorization: 'Bearer token' }
  const outgoing = request(url, { headers })
  outgoing.on('error', () => {})
  outgoing.end()
  t.ok(await eventually(async () => sockets.length === 1))
  t.equal(sockets[0]!.destroyed, false)
  outgoing.destroy()
  t.ok(await eventually(async () => sockets[0]!.destroyed))
})

const noOpenssl = await hostTool('openssl').then(() => false, () => 'openssl is not installed')
t.test('A tunnel that closes hangs up on everybody, also in the middle of a handshake', { skip: noOpenssl }, async (t) => {
  const directory = await mkdtemp(join(tmpdir(), 'tunnel-'))
  t.teardown(() => removeTree(directory))
  const certificate = await openCertificate(directory)
  const { sockets, target } = await silentServer(t)
  const tls = { ...certificate, protocols: ['http/1.1'] }
  const { port, close } = await openTunnel({ ...target, tls, track: () => {} })
  const shaking = connect({ host: sharedLoopback, port })
  await once(shaking, 'connect')
  shaking.write(Buffer.from([22, 3, 1]))
  const secure = secureConnect({ host: sharedLoopback, port, ca: certificate.cert })
  await once(secure, 'secureConnect')
  t.ok(await eventually(async () => sockets.length === 1))
  for (const socket of [shaking, secure]) socket.on('error', () => {}).resume()
  close()
  t.ok(await eventually(async () => shaking.destroyed && secure.destroyed && sockets[0]!.destroyed))
})

t.test('Who leaves before the sandbox has been connected leaves no connection there', async (t) => {
  const { sockets, target } = await silentServer(t)
  let left!: () => void
  const hasLeft = new Promise<void>((resolve) => { left = resolve })
  let asked = 0
  const late = {
    ...target,
    async connect (port: number) {
      asked++
      await hasLeft
      return await target.connect(port)
    }
  }
  const tunnel = await openTunnel({ ...late, track: () => {} })
  const gate = await openGate({ ...late, userOf: async () => ({ metadata: '' }) })
  t.teardown(() => { tunnel.close(); gate.close() })
  const direct = connect({ host: sharedLoopback, port: tunnel.port })
  const reset = connect({ host: sharedLoopback, port: tunnel.port })
  const headers = { authorization: 'Bearer token' }
  const http = request(gate.url, { headers })
  const upload = request(gate.url, { headers: { ...headers, 'content-length': 1_000_000 }, method: 'POST' })
  for (const one of [direct, reset, http, upload]) one.on('error', () => {})
  http.end()
  upload.write('x')
  t.ok(await eventually(async () => asked === 4))
  direct.destroy()
  reset.resetAndDestroy()
  http.destroy()
  upload.destroy()
  await sleep(200)
  left()
  t.ok(await eventually(async () => sockets.length === 4))
  t.ok(await eventually(async () => sockets.every(({ destroyed }) => destroyed)), `${sockets.filter(({ destroyed }) => !destroyed).length} are left`)
})
