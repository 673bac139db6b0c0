import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { hostname, tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { repeatAsUser } from './helpers/as-user.js'
import { eventually, openRuntime, path, processesWith, seen, sh, startContainer, text } from './helpers/containers.js'
import { spawnNode } from './helpers/spawn-node.js'

const { runtime, directory, close } = await openRuntime()
t.teardown(close)
const tests = await runtime.selfTest()
const skip = tests.ok ? false : tests.message
const terminal = { rows: 24, columns: 80, term: 'xterm-256color', colorTerm: 'truecolor' }
const mebibyte = 1024 ** 2

t.test('The self-test says in one line which mode works, and a bad data directory is named (9.2, 9.5)', { skip }, async (t) => {
  t.match(tests, { ok: true, mode: process.getuid!() === 0 ? 'root' : 'user' })
  t.notMatch(tests.message, /\n/)
  await t.rejects(openRuntime(join(directory, 'a,b')), { message: /DATA_DIR/ })
})

t.test('A container sees its own files and processes and nothing of the host', { skip }, async (t) => {
  const marker = await mkdtemp(join(tmpdir(), 'host-only-'))
  t.teardown(() => rm(marker, { recursive: true }))
  const container = await startContainer(runtime, { id: 'sb-isolated' })
  const project = fileURLToPath(new URL('..', import.meta.url))
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
  const traces = await mkdtemp(join(tmpdir(), 'host-only-'))
  t.teardown(() => rm(traces, { recursive: true }))
  const env = { LD_DEBUG: 'libs', LD_DEBUG_OUTPUT: join(traces, 'trace'), NODE_OPTIONS: '--no-such-option' }
  const container = await startContainer(runtime, { env: { PATH: path, ...env } })
  t.match((await sh(container, 'echo "$LD_DEBUG $LD_DEBUG_OUTPUT"', { env })).out, `libs ${traces}/trace`)
  t.same(await readdir(traces), [])
  const stat = await container.exec({ command: ['/__modal/.bin/modal-sandbox-fs-tools', '{"Stat":{"path":"/etc"}}'] })
  t.match(await text(stat.stdout), /"directory"/, 'and not the tools of the emulator either')
  await container.stop()
})

t.test('A command gets its arguments, environment, workdir and input, and gives its exit back (1.8, 1.9)', { skip }, async (t) => {
  const container = await startContainer(runtime, { env: { PATH: path, A: 'one', B: 'one' }, workdir: '/made/here' })
  t.equal((await sh(container, 'pwd; umask')).out, '/made/here\n0022\n')
  t.equal((await sh(container, 'echo "$A $B"', { env: { B: 'two \' "$x" \n' } })).out, 'one two \' "$x" \n\n')
  t.equal((await sh(container, 'pwd', { workdir: '/tmp' })).out, '/tmp\n')
  t.same((await sh(container, 'exit 42')).status, { code: 42 })
  t.same((await sh(container, 'kill -TERM $$')).status, { signal: 15 })
  t.same((await sh(container, 'echo out; echo err > /dev/stderr; echo again > /dev/stdout')),
    { status: { code: 0 }, out: 'out\nagain\n', err: 'err\n' })
  t.same(await sh(container, 'echo out; echo err >&2', { stdout: 'ignore', stderr: 'ignore' }), { status: { code: 0 }, out: '', err: '' })

  const cat = await container.exec({ command: ['cat'] })
  await cat.stdin.write(Buffer.from('first\n'))
  await seen(cat.stdout, 'first')
  t.equal(cat.stdin.written, 6)
  t.equal(container.activeExecs, 1)
  cat.stdin.end()
  t.same([await cat.exited, cat.stdin.closed], [{ code: 0 }, true])
  await t.rejects(cat.stdin.write(Buffer.from('late')))

  const failure = async (command: string[], workdir?: string) => {
    try {
      const process = await container.exec({ command, ...workdir !== undefined && { workdir } })
      return `${JSON.stringify(await process.exited)} ${await text(process.stderr)}`
    } catch (error) {
      return String(error)
    }
  }
  t.match(await failure(['no-such-command']), /no-such-command.*not found|not found.*no-such-command/)
  t.match(await failure(['true'], '/no/such/place'), /\/no\/such\/place/)
  await container.stop()
})

t.test('An exit is known at once, whoever still holds the output; the stream ends soon after', { skip }, async (t) => {
  const container = await startContainer(runtime)
  const started = Date.now()
  const process = await container.exec({ command: ['/bin/sh', '-c', 'sleep 100 & echo done'] })
  t.same(await process.exited, { code: 0 })
  const exited = Date.now() - started
  t.equal(await text(process.stdout), 'done\n')
  t.ok(exited < 1500 && Date.now() - started < 8000, `exit after ${exited} ms`)
  await container.stop()
})

t.test('A timeout kills the command and not what it started, with and without a terminal (4.6)', { skip }, async (t) => {
  const container = await startContainer(runtime)
  for (const pty of [undefined, terminal]) {
    const mark = `9${Math.floor(Math.random() * 1e8)}`
    const command = `setsid sleep ${mark} > /dev/null 2>&1 & exec sleep 5${mark}`
    const process = await container.exec({ command: ['/bin/sh', '-c', command], timeoutSeconds: 1, ...pty && { pty } })
    const status = await process.exited
    t.ok('signal' in status ? status.signal === 9 : status.code === 137, JSON.stringify(status))
    t.equal((await processesWith(`sleep\x00${mark}`)).length, 1)
    t.ok(await eventually(async () => (await processesWith(`sleep\x005${mark}`)).length === 0))
  }
  await container.stop()
})

t.test('Orphans are reaped', { skip }, async (t) => {
  const container = await startContainer(runtime)
  await sh(container, 'for i in 1 2 3 4 5; do (sleep 0.1 &) ; done')
  t.ok(await eventually(async () => (await sh(container, 'grep -l "State:.Z" /proc/[0-9]*/status')).out === ''))
  t.ok(await eventually(async () => (await sh(container, 'pgrep -c sleep')).out !== '6\n'))
  await container.stop()
})

t.test('Output nobody reads is kept, byte exact, and not in memory; readers come at any offset', { skip }, async (t) => {
  const size = 200 * mebibyte
  const container = await startContainer(runtime)
  const before = process.memoryUsage().rss
  const writer = await container.exec({ command: ['/bin/sh', '-c', `head -c ${size} /dev/zero; printf END`] })
  await writer.exited
  t.ok(await eventually(async () => writer.stdout.size === size + 3), `${writer.stdout.size} bytes`)
  t.ok(process.memoryUsage().rss - before < 100 * mebibyte)
  await container.stop()
  let read = 0
  for await (const chunk of writer.stdout.read(mebibyte)) read += chunk.length
  t.equal(read, size + 3 - mebibyte)
  const tail: Buffer[] = []
  for await (const chunk of writer.stdout.read(size)) tail.push(chunk)
  t.equal(Buffer.concat(tail).toString(), 'END')
})

t.test('A reader that gives up is let go', { skip }, async (t) => {
  const container = await startContainer(runtime)
  const quiet = await container.exec({ command: ['sleep', '100'] })
  const abort = new AbortController()
  setTimeout(() => { abort.abort() }, 50)
  for await (const chunk of quiet.stdout.read(0, abort.signal)) t.fail(`nothing was written: ${chunk}`)
  t.equal(quiet.status, undefined)
  await container.stop()
})

t.test('A terminal is a terminal of the container: size, echo, CRLF, ^C, ^D, exit codes (4.7)', { skip }, async (t) => {
  const container = await startContainer(runtime, { env: { PATH: path, SHELL: '/no/such/shell' } })
  const pty = { ...terminal, rows: 31, columns: 117 }
  const look = await sh(container, 'tty; stty size; echo "$TERM $COLORTERM $SHELL"; echo "it\'s" >&2', { pty })
  t.equal(look.out, '/dev/pts/0\r\n31 117\r\nxterm-256color truecolor /no/such/shell\r\nit\'s\r\n')
  t.equal(look.err, '')
  const words = await container.exec({ command: ['printf', '<%s>', 'a b', '', '\'"$(id)`', '-n', 'é\n'], pty })
  t.equal(await text(words.stdout), '<a b><><\'"$(id)`><-n><é\r\n>')
  t.same((await sh(container, 'exit 42', { pty })).status, { code: 42 })
  const killed = (await sh(container, 'kill -TERM $$', { pty })).status
  t.ok('code' in killed ? killed.code === 143 : killed.signal === 15, 'killed by a signal')

  const cat = await container.exec({ command: ['cat'], pty })
  await cat.stdin.write(Buffer.from('typed\n'))
  await seen(cat.stdout, 'typed\r\ntyped\r\n')
  await cat.stdin.write(Buffer.from('\x04'))
  t.same(await cat.exited, { code: 0 })
  const interrupted = await container.exec({ command: ['/bin/sh', '-c', 'trap "echo INT; exit 7" INT; echo ready; while :; do sleep 0.1; done'], pty })
  await seen(interrupted.stdout, 'ready')
  await interrupted.stdin.write(Buffer.from('\x03'))
  t.same(await interrupted.exited, { code: 7 })
  const ended = await container.exec({ command: ['cat'], pty })
  ended.stdin.end()
  t.same(await ended.exited, { code: 0 }, 'the end of the input reaches the terminal')
  await container.stop()
})

t.test('A terminal loses no byte, not even the last ones (4.1)', { skip }, async (t) => {
  const container = await startContainer(runtime)
  const size = 48 * mebibyte
  const command = ['/bin/sh', '-c', `head -c ${size} /dev/zero | tr '\\0' x; printf END`]
  const big = await container.exec({ command, pty: terminal })
  let read = 0
  let tail = ''
  for await (const chunk of big.stdout.read(0)) {
    read += chunk.length
    tail = (tail + chunk.subarray(-3).toString()).slice(-3)
  }
  t.same([read, tail, await big.exited], [size + 3, 'END', { code: 0 }])
  const short = await Promise.all(Array.from({ length: 10 }, () => sh(container, 'printf last', { pty: terminal })))
  t.ok(short.every(({ out }) => out === 'last'))
  await container.stop()
})

t.test('Any root works, even one without a shell; the entrypoint has the life of the container (5.1, 5.7)', { skip }, async (t) => {
  const empty = await mkdtemp(join(tmpdir(), 'empty-root-'))
  t.teardown(() => rm(empty, { recursive: true }))
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
  const script = fileURLToPath(new URL('helpers/doomed-runtime.ts', import.meta.url))
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
