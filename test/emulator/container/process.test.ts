import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import { repeatAsUser } from '../../helpers/as-user.js'
import { eventually, path, processesWith, runtimeFor, seen, sh, startContainer, text } from '../../helpers/containers.js'

const { runtime, directory, skip } = await runtimeFor(t)
const terminal = { rows: 24, columns: 80, term: 'xterm-256color', colorTerm: 'truecolor' }
const mebibyte = 1024 ** 2

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

t.test('An exit is known at once, whoever still holds the output; the stream ends soon after', { skip }, async (t) => {
  const container = await startContainer(runtime)
  const mark = `9${Math.floor(Math.random() * 1e8)}`
  const process = await container.exec({ command: ['/bin/sh', '-c', `sleep ${mark} & echo done`] })
  let ended = false
  const output = text(process.stdout).finally(() => { ended = true })
  t.same(await process.exited, { code: 0 })
  t.notOk(ended, 'the exit is known while the output is open')
  t.equal(await output, 'done\n')
  t.equal((await processesWith(`sleep\x00${mark}`)).length, 1, 'the output ends while it is still held')
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

t.test('A timeout of a month does not end a command at once (4.6)', { skip }, async (t) => {
  const container = await startContainer(runtime)
  t.same(await sh(container, 'sleep 0.2; echo done', { timeoutSeconds: 31 * 86_400 }), { status: { code: 0 }, out: 'done\n', err: '' })
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

repeatAsUser(t, import.meta.url)
