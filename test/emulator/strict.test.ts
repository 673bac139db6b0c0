import { status } from '@grpc/grpc-js'
import { randomBytes } from 'node:crypto'
import t, { type Test } from 'tap'
import { parseStrictness } from '../../emulator/strict.js'
import { readSettings } from '../../emulator/settings.js'
import { eventually } from '../helpers/containers.js'
import { localApp, openEmulator } from '../helpers/emulator.js'
import { isolation } from '../helpers/isolation.js'
import { ids, run, send } from '../helpers/sdk.js'

const { skip } = await openEmulator(t)
const withoutMonitor = isolation === 'runsc' ? 'gVisor keeps its system calls to itself' : skip

/** An app on an emulator that is strict in one way. */
async function open (t: Test, strict: string) {
  const { emulator, bare } = await openEmulator(t, { strict })
  const modal = emulator.modal()
  return { bare, modal, ...await localApp(modal, 'strict') }
}

t.test('EMULATOR_STRICT is 1, or names behaviours with other numbers, and nothing else', async (t) => {
  t.same(parseStrictness(undefined), {})
  t.same(parseStrictness('0'), {})
  t.same(parseStrictness('sockets, few-tags=4'), { sockets: 1, 'few-tags': 4 })
  const { throttle, zombies, 'slow-creates': delay } = parseStrictness('1,zombies=off,slow-creates=3000')
  t.same([throttle, zombies, delay], [5, undefined, 3000])
  for (const [text, message] of [
    ['stdio', /EMULATOR_STRICT names stdio: it must be 1, or a list of throttle, slow-creates/],
    ['throttle=fast', /EMULATOR_STRICT gives throttle no positive number/],
    ['throttle=0', /no positive number/]
  ] as const) {
    t.throws(() => parseStrictness(text), { message })
    t.match(readSettings({ EMULATOR_STRICT: text }).mistakes, [message])
  }
  t.match(readSettings({ EMULATOR_STRICT: '1' }), { settings: { strict: '1' }, mistakes: { length: 0 } })
})

t.test('Creates that come too fast are turned away, and told when to try again; the SDK waits', { skip }, async (t) => {
  const { bare, app, image, create } = await open(t, 'throttle=2')
  const request = { appId: app.appId, definition: { imageId: image.imageId, timeoutSecs: 60 } }
  const answers = await Promise.allSettled(Array.from({ length: 4 }, () => bare.control('SandboxCreateV2', request)))
  const refusals = answers.filter((answer) => answer.status === 'rejected').map(({ reason }) => reason)
  t.equal(refusals.length, 2)
  for (const { code, metadata } of refusals) {
    t.equal(code, status.RESOURCE_EXHAUSTED)
    const [details] = metadata.get('grpc-status-details-bin')
    t.match(details.toString('latin1'), /modal\.client\.RPCRetryPolicy/)
    t.ok(details.readFloatLE(details.length - 4) > 0)
  }
  const created = await Promise.all(Array.from({ length: 5 }, () => create()))
  t.equal(new Set(created.map(({ sandboxId }) => sandboxId)).size, 5)
})

t.test('A create takes its time, sometimes before the sandbox is there and sometimes after, and now and then much longer', { skip }, async (t) => {
  const { create, modal, app } = await open(t, 'slow-creates=200')
  const times: number[] = []
  for (let count = 1; count <= 7; count++) {
    const start = performance.now()
    await create()
    times.push(performance.now() - start)
  }
  t.ok(times.every((time) => time >= 199), times.join(' '))
  t.ok(times[6]! >= 1999, 'the seventh')
  const isThere = async () => (await ids(modal.sandboxes.list({ appId: app.appId }))).length === 8
  const creating = create()
  t.notOk(await isThere(), 'the eighth is delayed before')
  await creating
  t.ok(await isThere())
})

t.test('A list shows a new sandbox late, and has ten on a page', { skip }, async (t) => {
  const { bare, create, modal, app } = await open(t, 'late-lists=2000')
  const old = await Promise.all(Array.from({ length: 11 }, () => create()))
  const list = async () => await ids(modal.sandboxes.list({ appId: app.appId }))
  t.ok(await eventually(async () => (await list()).length === 11))
  const created = await create({ name: 'new' })
  const { sandboxes } = await bare.control('SandboxListV2', { appId: app.appId })
  t.equal(sandboxes.length, 10)
  t.same((await list()).sort(), old.map(({ sandboxId }) => sandboxId).sort(), 'not yet')
  t.equal((await modal.sandboxes.fromName('strict', 'new')).sandboxId, created.sandboxId, 'by its name it is found')
  t.ok(await eventually(async () => (await list()).includes(created.sandboxId)))
})

t.test('More tags than it takes are refused when a sandbox is created, and when it is tagged', { skip }, async (t) => {
  const { create } = await open(t, 'few-tags=2')
  const sandbox = await create({ tags: { one: '1', two: '2' } })
  await t.rejects(create({ tags: { one: '1', two: '2', three: '3' } }), /A sandbox may have 2 tags, got 3/)
  await t.rejects(sandbox.setTags({ one: '1', two: '2', three: '3' }), { name: 'InvalidError' })
  t.same(await sandbox.getTags(), { one: '1', two: '2' })
})

t.test('A sandbox that has ended is forgotten after a while', { skip }, async (t) => {
  const { create, modal } = await open(t, 'forgotten=1500')
  const sandbox = await create({ name: 'short' })
  const named = () => modal.sandboxes.fromName('strict', 'short', { includeTerminated: true })
  t.equal(await sandbox.terminate({ wait: true }), 137)
  t.equal(await sandbox.poll(), 137, 'not at once')
  t.equal((await named()).sandboxId, sandbox.sandboxId)
  t.ok(await eventually(async () => await sandbox.poll().then(() => false, ({ code }) => code === status.NOT_FOUND)))
  await t.rejects(sandbox.getTags(), { code: status.NOT_FOUND })
  await t.rejects(named(), { name: 'NotFoundError' })
})

t.test('An idle time-out and a failed start are told by a status alone', { skip }, async (t) => {
  const { bare, create, modal } = await open(t, 'told-ends')
  const idle = await create({ idleTimeoutMs: 1000 })
  t.equal(await idle.wait(), 0)
  t.match(await bare.control('SandboxWaitV2', { sandboxId: idle.sandboxId }), { result: { status: 7, exitcode: 0 } })

  const volume = await modal.volumes.fromName('told', { createIfMissing: true })
  const writer = await create({ volumes: { '/data': volume } })
  await run(writer, ['touch', '/data/file'])
  await writer.terminate({ wait: true })
  const failed = await create({ volumes: { '/data': volume.withMountOptions({ subPath: 'file/below' }) } })
  t.equal(await failed.poll(), 0, 'it was created')
  t.match(await bare.control('SandboxWaitV2', { sandboxId: failed.sandboxId }), { result: { status: 5, exception: /sub path/ } })
  await t.rejects(failed.exec(['true']))
  t.equal(await failed.terminate({ wait: true }), 0)
})

t.test('Commands have sockets, which no program can open again by name', { skip }, async (t) => {
  const { create } = await open(t, 'sockets')
  const sandbox = await create()
  t.match(await run(sandbox, ['sh', '-c', 'readlink /proc/self/fd/0 /proc/self/fd/1 /proc/self/fd/2']),
    { stdout: /^(socket:\[\d+\]\n){3}$/, code: 0 })
  for (const path of ['/dev/stdin', '/dev/fd/1', '/proc/self/fd/2']) {
    const { stderr, code } = await run(sandbox, ['sh', '-c', `: <>${path}`])
    t.match(stderr, /No such device or address/, path)
    t.not(code, 0)
  }
  const bytes = randomBytes(300_000)
  const cat = await sandbox.exec(['cat'], { mode: 'binary' })
  const [received] = await Promise.all([cat.stdout.readBytes(), send(cat, [bytes])])
  t.ok(Buffer.from(received).equals(bytes), 'input and output are whole')
  const terminal = await sandbox.exec(['sh', '-c', 'test -t 0 && test -t 1 && echo terminal'], { pty: true })
  t.equal(await terminal.stdout.readText(), 'terminal\r\n')
})

t.test('A command waits while its output is not read, and the SDK\'s own tools do not', { skip }, async (t) => {
  const { create } = await open(t, 'sockets=2')
  const sandbox = await create()
  const size = 20_000_000
  const process = await sandbox.exec(['sh', '-c', `head -c ${size} /dev/zero; touch /tmp/done`], { mode: 'binary' })
  const isDone = async () => (await run(sandbox, ['test', '-e', '/tmp/done'])).code === 0
  await run(sandbox, ['sleep', '2'])
  t.notOk(await isDone())
  const [output, code] = await Promise.all([process.stdout.readBytes(), process.wait()])
  t.same([output.length, code], [size, 0])
  t.ok(await isDone())

  const bytes = randomBytes(size)
  await sandbox.filesystem.writeBytes(bytes, '/tmp/large')
  t.ok(Buffer.from(await sandbox.filesystem.readBytes('/tmp/large')).equals(bytes))
})

t.test('A volume keeps whole seconds, and neither FIFOs nor hard links: what the next sandbox sees', { skip }, async (t) => {
  const { create, modal } = await open(t, 'plain-volumes')
  const volume = await modal.volumes.fromName('plain', { createIfMissing: true })
  const seen = async (script: string) => {
    const sandbox = await create({ volumes: { '/data': volume } })
    return (await run(sandbox, ['sh', '-c', `cd /data; ${script}`])).stdout
  }
  const writer = await create({ volumes: { '/data': volume } })
  const write = async (script: string) => await run(writer, ['sh', '-c', `cd /data; ${script}`])
  await write('echo linked > one; ln one two || cp one two; mkfifo pipe; ln -s one link; touch -h -d "2026-01-02 03:04:05.6789" one two link')
  await writer.reloadVolumes()
  t.equal(await seen('stat -c "%.9Y" one two link; ls; cat two; [ one -ef two ] || echo others'),
    `${'1767323045.000000000\n'.repeat(3)}link\none\ntwo\nlinked\nothers\n`, 'while it runs')
  await write('echo again > three; ln three four || cp three four')
  await writer.terminate({ wait: true })
  t.match(await seen('stat -c "%.9Y" three four; cat four; [ three -ef four ] || echo others'),
    /^(\d+\.0{9}\n){2}again\nothers\n$/, 'and after its end')
})

t.test('On a volume there are neither hard links nor FIFOs nor locks; elsewhere there are', { skip: withoutMonitor }, async (t) => {
  const { create, modal } = await open(t, 'plain-volumes')
  const volume = await modal.volumes.fromName('plainer', { createIfMissing: true })
  const sandbox = await create({ volumes: { '/data': volume } })
  await run(sandbox, ['sh', '-c', 'mkdir /tmp/local /data/deep; echo x > /data/file; echo x > /tmp/local/file; ln -s /data/deep /tmp/way'])
  const lock = (kind: string) => ['perl', '-e', `use Fcntl ":DEFAULT", ":flock"; open F, "+<", "file" or die; ${kind} or die $!; print "locked\n"`]
  const record = 'my $lock = pack("s s l! l! i", F_WRLCK, 0, 0, 0, 0); fcntl F, F_SETLK, $lock'
  const attempts = [
    ['ln', 'file', 'name'], ['mkfifo', 'pipe'], ['flock', '-n', 'file', 'true'], lock('flock F, LOCK_EX'), lock(record)
  ]
  for (const command of attempts) {
    t.equal((await run(sandbox, command, { workdir: '/tmp/local' })).code, 0, command.join(' '))
    const { code, stderr } = await run(sandbox, command, { workdir: '/data' })
    t.not(code, 0)
    t.match(stderr, /Operation not permitted|No locks available/, command.join(' '))
  }
  for (const path of ['/data/pipe', '../../data/deep/pipe', 'deep/pipe', '/tmp/local/deep/../pipe']) {
    const { code } = await run(sandbox, ['sh', '-c', `ln -sfn /data/deep deep; mkfifo ${path}`], { workdir: '/tmp/local' })
    t.not(code, 0, path)
  }
  t.equal((await run(sandbox, ['sh', '-c', 'cd /data && ls -A . deep; cat file'])).stdout, '.:\ndeep\nfile\n\ndeep:\nx\n')
  t.equal((await run(sandbox, ['sh', '-c', 'cd /data && git init -q . && git add file && git -c user.name=x -c user.email=x commit -qm x && git log --oneline | wc -l'])).stdout, '1\n')
})

t.test('Nobody reaps the orphans of a sandbox, or somebody does', { skip }, async (t) => {
  const states = async (strict: string) => {
    const { create } = await open(t, strict)
    const sandbox = await create()
    await run(sandbox, ['sh', '-c', '(sleep 0.1 & echo $! > /tmp/pid) & wait; while [ "$(cut -d " " -f 4 /proc/$(cat /tmp/pid)/stat)" = $$ ]; do sleep 0.1; done'])
    return (await run(sandbox, ['sh', '-c', 'sleep 1; cat /proc/$(cat /tmp/pid)/stat 2>/dev/null | cut -d " " -f 3,4'])).stdout
  }
  t.equal(await states('zombies'), 'Z 1\n')
  t.equal(await states('0'), '')
})

const withoutLimits = isolation === 'runsc' ? 'gVisor does not show who uses how much memory' : skip

t.test('A sandbox that uses more memory than its limit ends, and says so', { skip: withoutLimits }, async (t) => {
  const { bare, create } = await open(t, 'memory-limits=100')
  const limited = await create({ memoryMiB: 64, memoryLimitMiB: 128 })
  const free = await create({ memoryMiB: 64 })
  const eat = (megabytes: number) => ['perl', '-e', `my $x = "x" x (${megabytes} << 20); sleep 60`]
  await limited.exec(eat(40))
  const hungry = await free.exec(eat(300))
  await run(limited, ['sleep', '1'])
  t.equal(await limited.poll(), null, 'it may use less')
  await limited.exec(eat(150))
  t.equal(await limited.wait(), 137)
  t.match(await bare.control('SandboxWaitV2', { sandboxId: limited.sandboxId }), { result: { status: 8 } })
  t.equal(await free.poll(), null)
  t.ok(hungry)
})

t.test('The ENTRYPOINT of an image gets the command, and decides whether it runs it', { skip }, async (t) => {
  const { modal, app, create } = await open(t, '0')
  const image = async (...commands: string[]) => await modal.images.fromRegistry('local').dockerfileCommands(commands).build(app)
  const script = (last: string) => `RUN printf '#!/bin/sh\\necho entered > /tmp/entered\\n${last}\\n' > /entry && chmod +x /entry`
  const passing = await image(script('exec "$@"'), 'ENTRYPOINT ["/entry"]')
  const sleeping = await create({}, passing)
  const entered = ['sh', '-c', 'until cat /tmp/entered 2>/dev/null; do sleep 0.1; done']
  t.equal((await run(sleeping, entered)).stdout, 'entered\n')
  t.equal(await sleeping.poll(), null, 'without a command it goes on')
  t.equal(await (await create({ command: ['sh', '-c', 'exit 3'] }, passing)).wait(), 3)

  const ending = await image(script('exit 5'), 'ENTRYPOINT ["/entry"]')
  t.equal(await (await create({}, ending)).wait(), 5)
  t.equal(await (await create({ command: ['true'] }, await image('ENTRYPOINT exit 6'))).wait(), 6, 'a shell ignores its arguments')
})
