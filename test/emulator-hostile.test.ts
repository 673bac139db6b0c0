import { constants } from 'node:fs'
import { mkdtemp, open, readdir, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { text as readAll } from 'node:stream/consumers'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { repeatAsUser } from './helpers/as-user.js'
import { eventually, openRuntime, path, processesWith, seen, sh, startContainer, text } from './helpers/containers.js'
import { spawnNode } from './helpers/spawn-node.js'

const { runtime, directory, close } = await openRuntime()
t.teardown(close)
const tests = await runtime.selfTest()
const skip = tests.ok ? false : tests.message
const terminal = { rows: 24, columns: 80, term: 'xterm' }
let made = 0

async function volumeAt (path: string) {
  const volumeId = `vo-hostile-${made++}`
  await runtime.volumes.create(volumeId)
  return { volumeId, path, readOnly: false }
}

async function hostDirectory (t: { teardown: (end: () => Promise<void>) => void }): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), 'host-only-'))
  t.teardown(() => rm(directory, { recursive: true, force: true }))
  return directory
}

t.test('A command gets its variables to the byte, and none of the host\'s (1.8, 4.8)', { skip }, async (t) => {
  process.env['ONLY_THE_HOST'] = 'host-only-value'
  t.teardown(() => { delete process.env['ONLY_THE_HOST'] })
  const container = await startContainer(runtime, { env: { PATH: path, HOME: '/root' } })
  const odd = { QUOTE: 'it\'s "$(id)" `id` \\ \n', LATIN: 'é\u0081\u0088ÿ', EMPTY: '', OPTIND: 'none', UID: '7', IFS: 'x', CDPATH: '/usr' }
  for (const pty of [undefined, terminal]) {
    const { out } = await sh(container, 'printf "<%s>" "$QUOTE" "$LATIN" "$EMPTY"', { env: odd, ...pty && { pty } })
    t.equal(out.replaceAll('\r', ''), `<${odd.QUOTE}><${odd.LATIN}><>`)
  }
  const plain = await container.exec({ command: ['env'] })
  const names = (await text(plain.stdout)).split('\n').map((line) => line.split('=')[0])
  t.same(names.filter(Boolean).sort(), ['HOME', 'PATH', 'PWD'])
  t.notMatch((await sh(container, 'cat /proc/[0-9]*/environ', { pty: terminal })).out, /host-only-value|NODE_OPTIONS|TAP/)
  const many = Object.fromEntries(Array.from({ length: 1000 }, (_, index) => [`V${index}`, 'y'.repeat(500)]))
  t.equal((await sh(container, 'env | grep -c ^V', { env: many })).out, '1000\n')
  await t.rejects(container.exec({ command: ['true'], env: { 'A; id': '' } }), { name: 'ContainerError', reason: 'failed' })
  await container.stop()
})

t.test('Arguments arrive as they are, also in a terminal and as long as the SDK allows', { skip }, async (t) => {
  const container = await startContainer(runtime)
  for (const pty of [undefined, terminal]) {
    const quotes = await container.exec({ command: ['printf', '%s', '\''.repeat(60_000)], ...pty && { pty } })
    t.same([(await text(quotes.stdout)).length, await quotes.exited], [60_000, { code: 0 }])
  }
  const tooLong = { command: ['/__modal/.bin/modal-sandbox-fs-tools', 'é'.repeat(66_000)] }
  const outcome = await container.exec(tooLong).then((process) => process.exited, (error: unknown) => error)
  t.match(outcome, { name: 'ContainerError', reason: 'failed' })
  await container.stop()
})

t.test('No process in a container holds a descriptor of the host\'s', { skip }, async (t) => {
  const host = await hostDirectory(t)
  await writeFile(join(host, 'secret'), '')
  const held = await open(host, constants.O_RDONLY | constants.O_DIRECTORY)
  const script = fileURLToPath(new URL('helpers/inheriting-runtime.ts', import.meta.url))
  const home = await mkdtemp(join(tmpdir(), 'emulator-inheriting-'))
  const stdio = Array.from({ length: 101 }, (_, fd) => fd === 100 ? held.fd : fd === 1 ? 'pipe' as const : 'ignore' as const)
  const server = spawnNode([script, home], { stdio })
  const output = await readAll(server.stdout!)
  await held.close()
  t.match(output, /pts/, 'it ran')
  t.notMatch(output, host)
  t.notMatch(output, /secret/)
})

t.test('Devices of the host can be used and not changed, by name or by descriptor', { skip }, async (t) => {
  const container = await startContainer(runtime)
  // What would be set is what is set already, so that nothing breaks where it succeeds.
  for (const attempt of ['chmod 666 /dev/null', 'chown 0 /dev/zero', 'chmod 666 /proc/self/fd/1', 'rm /dev/null']) {
    const process = await container.exec({ command: ['/bin/sh', '-c', attempt], stdout: 'ignore' })
    t.strictNotSame(await process.exited, { code: 0 }, attempt)
  }
  t.equal((await sh(container, 'echo x > /dev/null; head -c 3 /dev/zero | wc -c')).out, '3\n')
  await container.stop()
})

t.test('A reload mounts where the volume was, whatever became of the way to it', { skip }, async (t) => {
  const volume = await volumeAt('/a/__modal')
  const container = await startContainer(runtime, { volumes: [volume] })
  await sh(container, 'echo kept > /a/__modal/f; mv /a /b; ln -s . /a')
  await t.rejects(container.reloadVolumes(), { name: 'ContainerError', reason: 'failed' })
  t.match((await sh(container, 'ls /__modal/rt; cat /b/__modal/f')).out, /ld\.so[\s\S]*kept\n/, 'the tools are still the emulator\'s')
  await sh(container, 'rm /a; mv /b /a')
  await container.reloadVolumes()
  t.equal((await sh(container, 'cat /a/__modal/f')).out, 'kept\n')
  await container.stop()
})

t.test('A tree that changes under a commit does not lead it out of the volume', { skip }, async (t) => {
  const host = await hostDirectory(t)
  await writeFile(join(host, 'secret'), 'from the host')
  const volume = await volumeAt('/data')
  const container = await startContainer(runtime, { volumes: [volume] })
  const swap = `cd /data; mkdir real; echo inside > real/secret
    while :; do mv real d; : > d/touched; mv d real; ln -s ${host} d; rm d; done`
  const racer = await container.exec({ command: ['/bin/sh', '-c', swap] })
  for (const end = Date.now() + 1500; Date.now() < end;) await container.commitVolumes()
  t.equal(racer.status, undefined)
  await container.stop()
  const reader = await startContainer(runtime, { volumes: [volume] })
  t.notMatch((await sh(reader, 'grep -r . /data')).out, /from the host/)
  await reader.stop()
})

t.test('Pipes, sockets and unreadable files hold up no commit; the rest is kept', { skip }, async (t) => {
  const volume = await volumeAt('/data')
  const container = await startContainer(runtime, { volumes: [volume] })
  await sh(container, 'cd /data; mkfifo pipe; echo 1 > a; echo 2 > locked; chmod 000 locked; mkdir -m 000 shut; echo 3 > z')
  await sh(container, 'cd /data; d=d; for i in 1 2 3 4 5 6 7 8 9; do d=$d/$d; mkdir -p $d; done; echo deep > $d/f')
  await container.commitVolumes()
  await container.stop()
  const reader = await startContainer(runtime, { volumes: [volume] })
  t.equal((await sh(reader, 'cd /data; cat a z; find . -name f | xargs cat')).out, '1\n3\ndeep\n')
  await reader.stop()
})

t.test('Deleting a tree deletes what was seen of it; what others put there meanwhile stays', { skip }, async (t) => {
  const volume = await volumeAt('/data')
  const first = await startContainer(runtime, { volumes: [volume] })
  await sh(first, 'mkdir -p /data/tree/sub; touch /data/tree/old /data/tree/sub/old')
  await first.stop()
  const [a, b] = await Promise.all([1, 2].map(() => startContainer(runtime, { volumes: [volume] })))
  await sh(b!, 'touch /data/tree/sub/new')
  await b!.commitVolumes()
  await sh(a!, 'rm -r /data/tree; mkdir /data/mine; touch /data/mine/f')
  await a!.commitVolumes()
  await sh(a!, 'rm -r /data/mine')
  await a!.commitVolumes()
  await Promise.all([a!.stop(), b!.stop()])
  const reader = await startContainer(runtime, { volumes: [volume] })
  t.equal((await sh(reader, 'cd /data; find . -type f; ls')).out, './tree/sub/new\ntree\n')
  await reader.stop()
})

t.test('A sub path that became a link is refused when it is reloaded', { skip }, async (t) => {
  const volume = await volumeAt('/data')
  const part = await startContainer(runtime, { volumes: [{ ...volume, subPath: 'part' }] })
  const whole = await startContainer(runtime, { volumes: [volume] })
  await sh(part, 'echo mine > /data/f')
  await sh(whole, 'rm -r /data/part; ln -s /etc /data/part')
  await whole.commitVolumes()
  await t.rejects(part.reloadVolumes(), { name: 'ContainerError', reason: 'failed' })
  t.equal((await sh(part, 'ls /data')).out, 'f\n')
  await Promise.all([part.stop(), whole.stop()])
})

t.test('A start that fails leaves nothing behind and names the reason', { skip }, async (t) => {
  const volume = await volumeAt('/etc/hosts/volume')
  const before = await readdir(join(directory, 'containers'))
  await t.rejects(startContainer(runtime, { workdir: '/etc/hosts/work' }), { name: 'ContainerError', reason: 'failed', message: /hosts/ })
  await t.rejects(startContainer(runtime, { volumes: [volume] }), { name: 'ContainerError', reason: 'failed', message: /hosts/ })
  const wrong = startContainer(runtime, { volumes: [await volumeAt('/data')], env: { 'A B': '1' } })
  await t.rejects(wrong, { name: 'ContainerError', reason: 'failed', message: /A B/ })
  t.same((await readdir(join(directory, 'containers'))).sort(), before.sort())
})

t.test('Commits and reloads at the same time lose nothing', { skip }, async (t) => {
  const volume = await volumeAt('/data')
  const container = await startContainer(runtime, { volumes: [volume] })
  for (let round = 0; round < 5; round++) {
    await sh(container, `mkdir /data/${round}; for i in $(seq 50); do echo x > /data/${round}/$i; done`)
    const work = () => [container.commitVolumes(), container.reloadVolumes(), container.commitVolumes()]
    await Promise.all([work(), work()].flat())
  }
  await container.stop()
  const reader = await startContainer(runtime, { volumes: [volume] })
  t.equal((await sh(reader, 'find /data -type f | wc -l')).out, '250\n')
  t.equal((await sh(reader, 'setpriv --reuid 65534 --clear-groups cat /data/0/1')).out, process.getuid!() === 0 ? 'x\n' : '')
  await reader.stop()
})

t.test('Hundreds of commands leave no descriptor, zombie or file, once they are forgotten', { skip }, async (t) => {
  const container = await startContainer(runtime, { id: 'busy' })
  const once = async () => {
    const process = await container.exec({ command: ['/bin/echo', 'x'] })
    t.equal(await text(process.stdout), 'x\n')
    await process.discard()
    await process.discard()
  }
  await once()
  const before = (await readdir('/proc/self/fd')).length
  for (let round = 0; round < 20; round++) await Promise.all(Array.from({ length: 10 }, once))
  t.ok(await eventually(async () => (await readdir('/proc/self/fd')).length <= before), 'descriptors')
  t.equal((await sh(container, 'grep -l "State:.Z" /proc/[0-9]*/status')).out, '', 'zombies')
  const own = (await readdir(join(directory, 'containers'))).find((name) => name.endsWith('-busy'))!
  t.ok((await readdir(join(directory, 'containers', own, 'spools'))).length <= 4, 'files of the entrypoint and the last look')
  await container.discard()
  t.notOk((await readdir(join(directory, 'containers'))).includes(own))
})

t.test('What a command leaves running lives on, and many can follow one file', { skip }, async (t) => {
  const container = await startContainer(runtime)
  const loop = 'i=0; while :; do i=$((i+1)); echo line $i; sleep 0.05; done'
  t.same((await sh(container, `setsid sh -c '${loop}' > /tmp/log 2>&1 < /dev/null &`)).status, { code: 0 })
  const tails = await Promise.all(Array.from({ length: 4 }, () => container.exec({ command: ['tail', '-c', '+1', '-f', '/tmp/log'] })))
  const outputs = await Promise.all(tails.map(({ stdout }) => seen(stdout, 'line 20\n')))
  t.ok(outputs.every((output) => output.startsWith('line 1\nline 2\n')))
  t.equal(container.activeExecs, 4)
  await container.stop()
})

t.test('A container that dies takes its commands along, and what comes later is told', { skip }, async (t) => {
  const container = await startContainer(runtime, { id: 'sb-dying' })
  const process = await container.exec({ command: ['sh', '-c', 'echo up; exec sleep 1000'] })
  await seen(process.stdout, 'up')
  for (const pid of await processesWith('sb-dying')) globalThis.process.kill(pid, 'SIGKILL')
  t.same([await process.exited, await container.exited], [{ signal: 9 }, { signal: 9 }])
  await t.rejects(container.exec({ command: ['true'] }), { name: 'ContainerError', reason: 'ended' })
})

t.test('A timeout of a month does not end a command at once (4.6)', { skip }, async (t) => {
  const container = await startContainer(runtime)
  t.same(await sh(container, 'sleep 0.2; echo done', { timeoutSeconds: 31 * 86_400 }), { status: { code: 0 }, out: 'done\n', err: '' })
  await container.stop()
})

repeatAsUser(t, import.meta.url)
