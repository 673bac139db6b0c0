import { status } from '@grpc/grpc-js'
import { once } from 'node:events'
import { createServer, type AddressInfo } from 'node:net'
import { networkInterfaces } from 'node:os'
import t from 'tap'
import { hostTool } from '../../../emulator/container/host.js'
import { expectNothingUnexpected, localApp, openEmulator } from '../../helpers/emulator.js'
import { isolation } from '../../helpers/isolation.js'
import { run } from '../../helpers/sdk.js'

const { emulator, bare, skip: broken } = await openEmulator(t)
const isInstalled = await hostTool('slirp4netns').then(() => true, () => false)
const outside = Object.values(networkInterfaces()).flat().find((one) => one?.family === 'IPv4' && !one.internal)?.address
const skip = broken || (isolation === 'runsc' && 'gVisor has no such network') ||
  (!isInstalled && 'slirp4netns is not installed') || (outside === undefined && 'the machine has no address but loopback')

/** In a sandbox: connects, bound to a device if one is named, and prints what it hears or why it can't. */
const dial = (host: string, port: number, device = '') => ['perl', '-e', `
  use Socket;
  socket(my $socket, PF_INET, SOCK_STREAM, 0) or die;
  setsockopt($socket, SOL_SOCKET, 25, pack('Z*', '${device}')) or die "device: $!" if '${device}' ne '';
  $SIG{ALRM} = sub { print 'no answer'; exit }; alarm 5;
  connect($socket, sockaddr_in(${port}, inet_aton('${host}'))) or do { print "refused"; exit };
  print scalar <$socket>`]

t.test('a sandbox with a list reaches its addresses, and nothing else: not the machine, not by another way', { skip }, async (t) => {
  const server = createServer((socket) => { socket.end('hello\n') })
  server.listen(0, '0.0.0.0')
  await once(server, 'listening')
  t.teardown(() => { server.close() })
  const { port } = server.address() as AddressInfo
  const { create } = await localApp(emulator.modal(), 'lists')
  const [open, closed] = await Promise.all([[`${outside}/32`], ['192.168.77.0/24', 'fd00::/8']].map((outboundCidrAllowlist) =>
    create({ outboundCidrAllowlist })))
  const hear = async (sandbox: typeof open, host: string, device?: string) =>
    (await run(sandbox!, dial(host, port, device))).stdout.trim()
  t.equal(await hear(open, outside!), 'hello')
  t.match(await hear(closed, outside!), /refused|no answer/)
  t.match(await hear(closed, outside!, 'tap0'), /refused|no answer/, 'past the routes')
  for (const host of ['127.0.0.1', '198.18.0.2']) t.match(await hear(open, host), /refused|no answer/, host)
  const changed = await run(closed!, ['sh', '-c', 'ip route add default via 198.18.0.2 2>&1 || unshare -rn true 2>&1'])
  t.not(changed.code, 0)
  t.equal((await run(open!, ['cat', '/etc/resolv.conf'])).stdout.trim(), 'nameserver 198.18.0.3')
  t.equal((await run(closed!, ['true'])).code, 0)
})

t.test('what such a sandbox can not have is refused', { skip }, async (t) => {
  const { create } = await localApp(emulator.modal(), 'lists')
  const outboundCidrAllowlist = ['10.0.0.0/8']
  await t.rejects(create({ outboundCidrAllowlist: ['not-an-ip/8'] }), { code: status.INVALID_ARGUMENT, message: /Invalid CIDR: not-an-ip\/8/ })
  for (const wrong of ['10.1.2.3/8', 'fe80::1%lo/64']) {
    const message = new RegExp(`Invalid CIDR: ${wrong}`)
    await t.rejects(create({ outboundCidrAllowlist: [wrong] }), { code: status.INVALID_ARGUMENT, message }, wrong)
  }
  await t.rejects(create({ outboundCidrAllowlist, unencryptedPorts: [8080] }), { code: status.UNIMPLEMENTED })
  const sandbox = await create({ outboundCidrAllowlist })
  await t.rejects(sandbox.createConnectToken(), { code: status.UNIMPLEMENTED })
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
  skip: broken || (isInstalled && isolation !== 'runsc' && 'it can be enforced here')
}, async (t) => {
  const { create } = await localApp(emulator.modal(), 'lists')
  await t.rejects(create({ outboundCidrAllowlist: ['10.0.0.0/8'] }), { code: status.UNIMPLEMENTED, message: /slirp4netns|gVisor/ })
})

expectNothingUnexpected(t, emulator)
