import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { constants } from 'node:fs'
import { mkdtemp, open, readdir, readFile, writeFile } from 'node:fs/promises'
import { hostname, tmpdir } from 'node:os'
import { join } from 'node:path'
import { text as readAll } from 'node:stream/consumers'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { repeatAsUser } from '../../helpers/as-user.js'
import {
  eventually, hostDirectory, openRuntime, path, processesWith, runtimeFor, seen, sh, startContainer, text
} from '../../helpers/containers.js'
import { spawnNode } from '../../helpers/spawn-node.js'

const { runtime, directory, selfTest, skip } = await runtimeFor(t)
const terminal = { rows: 24, columns: 80, term: 'xterm-256color', colorTerm: 'truecolor' }

async function volumeAt (path: string) {
  const volumeId = `vo-${randomUUID()}`
  await runtime.volumes.create(volumeId)
  return { volumeId, path, readOnly: false }
}

t.test('The self-test says in one line which mode works, and a bad data directory is named (9.2, 9.5)', { skip }, async (t) => {
  t.match(selfTest, { ok: true, mode: process.getuid!() === 0 ? 'root' : 'user' })
  t.notMatch(selfTest.message, /\n/)
  await t.rejects(openRuntime(join(directory, 'a,b')), { message: /DATA_DIR/ })
})

t.test('A container sees its own files and processes and nothing of the host', { skip }, async (t) => {
  const marker = await hostDirectory(t)
  const container = await startContainer(runtime, { id: 'sb-isolated' })
  const project = fileURLToPath(new URL('../../..', import.meta.url))
  const look = await sh(container, `
    ls -A /root /home; ls -d ${marker} ${project} ${directory} 2> /dev/null; ls -A /__modal/old
    ls /etc/ssh /etc/ssl/private 2> /dev/null; grep -s '[$]' /etc/shadow
  `)
  t.equal(look.out, '/home:\n\n/root:\n')
  t.match((await sh(container, 'echo /proc/[0-9]* | wc -w')).out, /^\d\n$/, 'its own few processes')
  t.equal((await sh(container, 'cat /proc/kcore /proc/keys /proc/timer_list 2> /dev/null | wc -c')).out, '0\n')
  t.equal((await sh(container, 'cat /proc/sys/kernel/hostname')).out, 'sb-isolated\n')
  t.not(hostname(), 'sb-isolated')
  await container.stop()
})

t.test('Root in a container can\'t mount, make devices, change the kernel or gain it back', { skip }, async (t) => {
  const container = await startContainer(runtime)
  // Each would write what is there already, so that nothing breaks where one succeeds.
  const same = (file: string) => `old=$(cat ${file}) && echo "$old" > ${file}`
  const attempts = {
    mount: 'mkdir /m; mount -t tmpfs tmpfs /m',
    remount: 'mount -o remount,rw /__modal',
    tools: 'echo x >> /__modal/rt/sh',
    device: 'mknod /block b 8 0 && head -c1 /block',
    corePattern: same('/proc/sys/kernel/core_pattern'),
    sysrq: 'echo h > /proc/sysrq-trigger',
    cpu: same('/sys/devices/system/cpu/cpu1/online'),
    hostname: 'hostname other || echo other > /proc/sys/kernel/hostname'
  }
  for (const [name, script] of Object.entries(attempts)) {
    t.strictNotSame((await sh(container, script)).status, { code: 0 }, name)
  }
  const bounding = await sh(container, 'grep -h -E "Cap(Bnd|Eff|Prm|Inh|Amb)" /proc/self/status /proc/1/status')
  const sets = [...bounding.out.matchAll(/:\s*([0-9a-f]+)/g)].map(([, set]) => BigInt(`0x${set}`))
  t.equal(sets.length, 10)
  const [dacReadSearch, netRaw, sysChroot, sysPtrace, sysAdmin, mknod] = [2n, 13n, 18n, 19n, 21n, 27n]
  for (const bit of [dacReadSearch, netRaw, sysChroot, sysPtrace, sysAdmin, mknod]) {
    t.ok(sets.every((set) => (set >> bit & 1n) === 0n), `capability ${bit}`)
  }
  await sh(container, 'kill -9 1')
  t.equal((await sh(container, 'echo alive')).out, 'alive\n', 'and can not end the first process')
  await container.stop()
})

t.test('What a user puts into the environment never reaches a program of the host (1.8)', { skip }, async (t) => {
  const traces = await hostDirectory(t)
  const env = { LD_DEBUG: 'libs', LD_DEBUG_OUTPUT: join(traces, 'trace'), NODE_OPTIONS: '--no-such-option' }
  const container = await startContainer(runtime, { env: { PATH: path, ...env } })
  t.match((await sh(container, 'echo "$LD_DEBUG $LD_DEBUG_OUTPUT"', { env })).out, `libs ${traces}/trace`)
  t.same(await readdir(traces), [])
  const stat = await container.exec({ command: ['/__modal/.bin/modal-sandbox-fs-tools', '{"Stat":{"path":"/etc"}}'] })
  t.match(await text(stat.stdout), /"directory"/, 'and not the tools of the emulator either')
  await container.stop()
})

t.test('No process in a container holds a descriptor of the host\'s', { skip }, async (t) => {
  const host = await hostDirectory(t)
  await writeFile(join(host, 'secret'), '')
  const held = await open(host, constants.O_RDONLY | constants.O_DIRECTORY)
  const script = fileURLToPath(new URL('../../helpers/inheriting-runtime.ts', import.meta.url))
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

t.test('Without a network there is only loopback, and it works', { skip }, async (t) => {
  const container = await startContainer(runtime, { network: 'none' })
  t.equal((await sh(container, 'tail -n +2 /proc/net/route')).out, '', 'no route')
  const talk = `const { createServer, connect } = require('net')
    const server = createServer((socket) => socket.end('heard')).listen(0, '127.0.0.1', () => {
      connect(server.address().port, '127.0.0.1').on('data', (data) => { console.log(String(data)); server.close() })
    })`
  t.equal((await sh(container, `node -e "${talk}"`)).out, 'heard\n')
  await container.stop()
})

t.test('Any root works, even one without a shell; the entrypoint has the life of the container (5.1, 5.7)', { skip }, async (t) => {
  const empty = await hostDirectory(t)
  const rootfs = { base: { kind: 'directory' as const, path: empty }, layers: [] }
  const bare = await startContainer(runtime, { rootfs, env: {}, workdir: '/work' })
  const tools = async (operation: object, input = '') => {
    const process = await bare.exec({ command: ['/__modal/.bin/modal-sandbox-fs-tools', JSON.stringify(operation)] })
    await process.stdin.write(Buffer.from(input))
    process.stdin.end()
    return `${await text(process.stdout)}${await text(process.stderr)}`
  }
  t.equal(await tools({ WriteFile: { path: '/work/deep/file' } }, 'content'), '')
  t.equal(await tools({ ReadFile: { path: '/work/deep/file' } }), 'content')
  t.match(await tools({ Stat: { path: '/nothing' } }), /NotFound/)
  t.same((await readdir(empty)), [], 'the base stays as it was')
  await bare.stop()

  const short = await startContainer(runtime, { command: ['/bin/sh', '-c', 'echo hello; exit 3'] })
  t.same(await short.exited, { code: 3 })
  t.equal(await text(short.main.stdout), 'hello\n', 'output stays readable')
  const withTerminal = await startContainer(runtime, { command: ['tty'], pty: terminal })
  await withTerminal.exited
  t.equal(await text(withTerminal.main.stdout), '/dev/pts/0\r\n')
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

t.test('A container that dies takes its commands along, and what comes later is told', { skip }, async (t) => {
  const container = await startContainer(runtime, { id: 'sb-dying', command: ['sh', '-c', 'echo up; exec sleep 1000'] })
  const process = await container.exec({ command: ['sh', '-c', 'echo up; exec sleep 1000'] })
  await Promise.all([process, container.main].map(({ stdout }) => seen(stdout, 'up')))
  for (const pid of await processesWith('sb-dying')) globalThis.process.kill(pid, 'SIGKILL')
  t.same([await process.exited, await container.exited], [{ signal: 9 }, { signal: 9 }])
  await t.rejects(container.exec({ command: ['true'] }), { name: 'ContainerError', reason: 'ended' })
})

t.test('The end of a command that was stopped is noticed, and holds up no end of its container', { skip }, async (t) => {
  const container = await startContainer(runtime)
  const [killed, left] = await Promise.all(['sleep 7171', 'sleep 7172'].map(async (command) => await container.exec({ command: command.split(' ') })))
  await eventually(async () => (await sh(container, 'kill -STOP $(pidof sleep) && grep -h State /proc/[0-9]*/status')).out.match(/stopped/g)?.length === 2)
  await sh(container, 'for pid in $(pidof sleep); do grep -q 7171 /proc/$pid/cmdline && kill -KILL $pid; done')
  t.match(await killed!.exited, { signal: 9 })
  t.equal(left!.status, undefined)
  await container.stop()
  t.match(await left!.exited, { signal: 9 })
})

t.test('Stop leaves nothing alive and no private state; afterwards the container has ended (5.1, 5.2, 5.3)', { skip }, async (t) => {
  const mark = randomUUID()
  const container = await startContainer(runtime, { id: 'stopped' })
  const script = `setsid sh -c 'trap "" TERM HUP; sleep 1000; : ${mark}' & (sleep 1000; : ${mark}) & sleep 1000; : ${mark}`
  const process = await container.exec({ command: ['/bin/sh', '-c', script] })
  t.ok(await eventually(async () => (await processesWith(mark)).length >= 3))
  await Promise.all([container.stop(), container.stop()])
  t.same(await process.exited, { signal: 9 })
  t.same(await container.exited, { signal: 9 })
  t.same(await processesWith(mark), [])
  t.equal(container.activeExecs, 0)
  await t.rejects(container.exec({ command: ['true'] }), { name: 'ContainerError', reason: 'ended' })
  await t.rejects(container.reloadVolumes(), { name: 'ContainerError', reason: 'ended' })
  const left = await readdir(join(directory, 'containers'), { recursive: true })
  t.same(left.filter((name) => /stopped\/(upper|work)(\/|$)/.test(name)), [])
})

t.test('Many commands run side by side in containers that share nothing (5.6)', { skip }, async (t) => {
  const containers = await Promise.all(Array.from({ length: 4 }, (_, id) => startContainer(runtime, { id: `box-${id}` })))
  await Promise.all(containers.map((container, id) => sh(container, `echo ${id} > /tmp/id; echo ${id} > /usr/local/id`)))
  const outputs = await Promise.all(containers.flatMap((container) =>
    Array.from({ length: 10 }, () => sh(container, 'cat /tmp/id /usr/local/id'))))
  t.same(outputs.map(({ out }) => out), containers.flatMap((_, id) => Array(10).fill(`${id}\n${id}\n`)))
  await Promise.all(containers.map((container) => container.stop()))
})

t.test('A server that is killed takes its containers along, and the next one cleans up (5.3, 8.7)', { skip }, async (t) => {
  const mark = randomUUID()
  const home = await mkdtemp(join(tmpdir(), 'emulator-doomed-'))
  const script = fileURLToPath(new URL('../../helpers/doomed-runtime.ts', import.meta.url))
  const server = spawnNode([script, home, mark], { stdio: ['ignore', 'pipe', 'inherit'] })
  await once(server.stdout!, 'data')
  t.ok(await eventually(async () => (await processesWith(mark)).length >= 3))
  server.kill('SIGKILL')
  t.ok(await eventually(async () => (await processesWith(mark)).length === 0), 'nothing lives on')
  await writeFile(join(home, 'kept'), '')
  const next = await openRuntime(home)
  t.same((await readdir(join(home, 'containers'))).filter((name) => name.includes('box')), [])
  t.equal(await readFile(join(home, 'kept'), 'utf8'), '')
  await next.close()
})

repeatAsUser(t, import.meta.url)
