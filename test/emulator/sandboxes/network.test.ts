import { status } from '@grpc/grpc-js'
import { Probe } from 'modal'
import { createSocket } from 'node:dgram'
import { once } from 'node:events'
import { connect, createServer, type AddressInfo } from 'node:net'
import { networkInterfaces } from 'node:os'
import t from 'tap'
import { hostTool } from '../../../emulator/container/host.js'
import { expectNothingUnexpected, localApp, openEmulator, testEmulator } from '../../helpers/emulator.js'
import { run } from '../../helpers/sdk.js'

const { emulator, bare, skip: broken } = await openEmulator(t)
const isInstalled = await hostTool('slirp4netns').then(() => true, () => false)
const outside = Object.values(networkInterfaces()).flat().find((one) => one?.family === 'IPv4' && !one.internal)?.address
const skip = broken || (!isInstalled && 'slirp4netns is not installed')
const skipLists = skip || (outside === undefined && 'the machine has no address but loopback')

/** In a sandbox: connects, and prints what it hears or why it can't. */
const dial = (host: string, port: number) => ['node', '-e', `
  setTimeout(() => { console.log('no answer'); process.exit() }, 5000).unref()
  require('net').connect(${port}, '${host}').on('error', () => console.log('refused')).pipe(process.stdout)`]

/** The same, bound to a device. */
const dialFrom = (device: string, host: string, port: number) => ['perl', '-e', `
  use Socket;
  socket(my $socket, PF_INET, SOCK_STREAM, 0) or die;
  setsockopt($socket, SOL_SOCKET, 25, pack('Z*', '${device}')) or do { print "refused"; exit };
  $SIG{ALRM} = sub { print 'no answer'; exit }; alarm 5;
  connect($socket, sockaddr_in(${port}, inet_aton('${host}'))) or do { print "refused"; exit };
  print "connected"`]

t.test('a sandbox with a list reaches its addresses, and nothing else: not the machine, not by another way', { skip: skipLists }, async (t) => {
  const server = createServer((socket) => { socket.end('hello\n') })
  server.listen(0, '0.0.0.0')
  await once(server, 'listening')
  t.teardown(() => { server.close() })
  const { port } = server.address() as AddressInfo
  const { create } = await localApp(emulator.modal(), 'lists')
  const [open, closed] = await Promise.all([[`${outside}/32`], ['192.168.77.0/24', 'fd00::/8']].map((outboundCidrAllowlist) =>
    create({ outboundCidrAllowlist })))
  const hear = async (sandbox: typeof open, host: string) => (await run(sandbox!, dial(host, port))).stdout.trim()
  t.equal(await hear(open, outside!), 'hello')
  t.match(await hear(closed, outside!), /refused|no answer/)
  t.match((await run(closed!, dialFrom('tap0', outside!, port))).stdout, /refused|no answer/, 'past the routes')
  for (const host of ['127.0.0.1', '198.18.0.2']) t.match(await hear(open, host), /refused|no answer/, host)
  t.not((await run(closed!, ['ip', 'route', 'add', 'default', 'via', '198.18.0.2'])).code, 0)
  // gVisor's are its own, and have no way out.
  const namespace = await run(closed!, ['unshare', '-rn', 'curl', '-s', '-m', '3', `http://${outside}:${port}`])
  t.notMatch(namespace.stdout, /hello/)
  t.equal((await run(open!, ['cat', '/etc/resolv.conf'])).stdout.trim(), 'nameserver 198.18.0.3')
  t.equal((await run(closed!, ['true'])).code, 0)
})

/** In a sandbox: sends datagrams, bound to a device. */
const sendFrom = (device: string, host: string, port: number) => ['perl', '-e', `
  use Socket;
  socket(my $socket, PF_INET, SOCK_DGRAM, 0) or die;
  setsockopt($socket, SOL_SOCKET, 25, pack('Z*', '${device}')) or exit;
  for (1 .. 5) { send($socket, 'hello', 0, sockaddr_in(${port}, inet_aton('${host}'))); select(undef, undef, undef, 0.1) }`]

t.test('a list of any address does not lead to the loopback of the machine, past the routes either', { skip: skipLists }, async (t) => {
  const machine = createSocket('udp4')
  machine.bind(0, '0.0.0.0')
  await once(machine, 'listening')
  t.teardown(() => { machine.close() })
  const { port } = machine.address()
  const heard: string[] = []
  machine.on('message', (_text, { address }) => { heard.push(address) })
  const { create } = await localApp(emulator.modal(), 'lists')
  const lists = [['0.0.0.0/0'], ['126.0.0.0/7'], ['127.0.0.0/8'], ['127.0.0.1/32', '127.77.0.1/32']]
  for (const outboundCidrAllowlist of lists) {
    const sandbox = await create({ outboundCidrAllowlist })
    for (const host of ['127.0.0.1', '127.77.0.1']) t.equal((await run(sandbox, sendFrom('tap0', host, port))).code, 0)
    t.match(heard, { length: 0 }, outboundCidrAllowlist.join())
    heard.length = 0
  }
})

t.test('a list that is none is refused', { skip }, async (t) => {
  const { create } = await localApp(emulator.modal(), 'lists')
  await t.rejects(create({ outboundCidrAllowlist: ['not-an-ip/8'] }), { code: status.INVALID_ARGUMENT, message: /Invalid CIDR: not-an-ip\/8/ })
  for (const wrong of ['10.1.2.3/8', 'fe80::1%lo/64']) {
    const message = new RegExp(`Invalid CIDR: ${wrong}`)
    await t.rejects(create({ outboundCidrAllowlist: [wrong] }), { code: status.INVALID_ARGUMENT, message }, wrong)
  }
})

/** In a sandbox: answers each connection with a word. */
const say = (word: string, port: number) => ['node', '-e', `
  require('http').createServer((request, answer) => { answer.end('${word}') }).listen(${port}, '127.0.0.1')`]

t.test('each sandbox has a network of its own: all listen on one port, which the machine uses, too', { skip }, async (t) => {
  const server = createServer((socket) => { socket.end('the machine\n') })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => { server.close() })
  const { port } = server.address() as AddressInfo
  const { create } = await localApp(emulator.modal(), 'networks')
  const start = async (word: string, options: object = {}) => {
    const readinessProbe = Probe.withTcp(port, { intervalMs: 100 })
    const sandbox = await create({ command: say(word, port), unencryptedPorts: [port], readinessProbe, ...options })
    await sandbox.waitUntilReady(60_000)
    const [host, tunnelPort] = (await sandbox.tunnels())[port]!.tcpSocket
    return { sandbox, url: `http://${host}:${tunnelPort}/` }
  }
  const [one, other, listed] = await Promise.all([
    start('one'), start('other'), start('listed', { outboundCidrAllowlist: ['192.168.77.0/24'] })
  ])
  for (const [{ sandbox, url }, word] of [[one, 'one'], [other, 'other'], [listed, 'listed']] as const) {
    t.equal(await (await fetch(url)).text(), word, 'by a tunnel')
    const gate = await sandbox.createConnectToken({ port })
    const headers = { authorization: `Bearer ${gate.token}` }
    t.equal(await (await fetch(gate.url, { headers })).text(), word, 'with a connect token')
    t.equal((await run(sandbox, ['curl', '-s', `http://localhost:${port}`])).stdout, word, 'inside')
  }
  const { hostname } = new URL(emulator.urlInSandbox('http://localhost/'))
  t.equal((await run(one.sandbox, dial(hostname, port))).stdout, 'the machine\n', 'the machine has another address')
  t.equal((await run(one.sandbox, ['curl', '-s', other.url])).stdout, 'other', 'tunnels have the same everywhere')
  const away = await run(listed.sandbox, ['curl', '-s', '-m', '5', other.url])
  t.not(away.code, 0, 'but for sandboxes with a list')
})

t.test('a server that resets a connection, and one that is gone, are told by the tunnel', { skip }, async (t) => {
  const { create } = await localApp(emulator.modal(), 'networks')
  const sandbox = await create({ unencryptedPorts: [7000] })
  const [host, port] = (await sandbox.tunnels())[7000]!.tcpSocket
  const hear = async () => {
    const socket = connect({ host, port })
    socket.write('x')
    let heard = ''
    try {
      for await (const chunk of socket) heard += String(chunk)
    } catch (error) {
      return (error as NodeJS.ErrnoException).code
    }
    return heard
  }
  t.match(await hear(), /^$|ECONNRESET/, 'nobody listens yet')
  const server = await sandbox.exec(['node', '-e', `
    require('net').createServer((socket) => { socket.on('data', () => socket.resetAndDestroy()) })
      .listen(7000, () => console.log('listening'))`])
  await server.stdout.getReader().read()
  for (let time = 0; time < 3; time++) t.match(await hear(), /^$|ECONNRESET/)
  await sandbox.terminate()
})

t.test('a network that is blocked stays so, whatever list comes with it', { skip: broken }, async (t) => {
  const { app: { appId }, image: { imageId } } = await localApp(emulator.modal(), 'lists')
  const listed = { networkAccessType: 3, allowedCidrs: ['0.0.0.0/0'] }
  const definition = { imageId, timeoutSecs: 60, blockNetwork: true, networkAccess: listed }
  const { sandboxId, taskId } = await bare.control('SandboxCreateV2', { appId, definition })
  const { jwt } = await bare.task(sandboxId)
  const inside = ['perl', '-ne', '$up++ if /:/ && !/^ *lo:/; END { exit $up ? 1 : 0 }', '/proc/net/dev']
  await bare.router(jwt, 'TaskExecStart', { taskId, execId: 'look', commandArgs: inside })
  t.same(await bare.router(jwt, 'TaskExecWait', { taskId, execId: 'look' }), { code: 0 })
  const token = bare.control('SandboxCreateConnectTokenV2', { sandboxId })
  await t.rejects(token, { code: status.FAILED_PRECONDITION, details: /blocked/ })
})

t.test('where it can not be enforced a list is refused with the reason', {
  skip: broken || (isInstalled && 'it can be enforced here')
}, async (t) => {
  const { create } = await localApp(emulator.modal(), 'lists')
  await t.rejects(create({ outboundCidrAllowlist: ['10.0.0.0/8'] }), { code: status.UNIMPLEMENTED, message: /slirp4netns/ })
})

t.test('sandboxes share the network of the machine where they are to', { skip: broken }, async (t) => {
  const shared = await testEmulator({ network: 'host' })
  t.teardown(() => shared.stop())
  const server = createServer((socket) => { socket.end('the machine\n') })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => { server.close() })
  const { create } = await localApp(shared.modal(), 'shared')
  const { hostname } = new URL(shared.urlInSandbox('http://127.0.0.1/'))
  t.equal(hostname, '127.0.0.1')
  const { port } = server.address() as AddressInfo
  t.equal((await run(await create(), dial(hostname, port))).stdout, 'the machine\n')
  await t.rejects(create({ outboundCidrAllowlist: ['10.0.0.0/8'] }), { code: status.UNIMPLEMENTED, message: /EMULATOR_NETWORK/ })
})

expectNothingUnexpected(t, emulator)
