import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { SandboxService } from '../../services/sandboxes/service.js'
import { keys, readSse, skip, startService, type ReceivedEvent } from '../helpers/service.js'

const path = '/api/modal/sandbox'
const mebibyte = 1024 * 1024

t.test('exec', { skip }, async (t) => {
  const service = await startService()
  const local = service.app.modal.backend === 'local'
  t.teardown(async () => service.close())

  const created = async () => {
    const response = await service.request(path, { method: 'POST', json: {} })
    return (await response.json() as { id: string }).id
  }
  const id = await created()

  const post = async (json: unknown, accept: string, signal?: AbortSignal) => await service.request(`${path}/${id}/exec`, {
    method: 'POST', json, headers: { accept }, ...(signal !== undefined && { signal })
  })
  const exec = async (json: unknown) => {
    const response = await post(json, 'application/json')
    return { status: response.status, body: await response.json() as any }
  }
  const sh = async (script: string, more: object = {}) => (await exec({ command: ['sh', '-c', script], ...more })).body
  const stream = async (json: unknown) => {
    const response = await post(json, 'text/event-stream')
    const events: ReceivedEvent[] = []
    for await (const event of readSse(response)) if (event.event !== 'heartbeat') events.push(event)
    return events
  }
  const textOf = (events: ReceivedEvent[], name: string) =>
    events.filter(({ event }) => event === name).map(({ data }) => data.text).join('')
  const countOf = async (command: string) => {
    const { stdout } = await sh('for file in /proc/[0-9]*/cmdline; do tr "\\0" " " < $file; echo; done 2>/dev/null')
    return stdout.split('\n').filter((line: string) => line.trim() === command).length as number
  }

  await t.test('A command answers with its output, its exit code and its time', async (t) => {
    const { status, body } = await exec({
      command: ['sh', '-c', 'echo out; echo err >&2; echo "$1|$GREETING|$(pwd)"; exit 7', 'sh', 'a "b" $c'],
      env: { GREETING: 'hello\nyou' },
      workdir: '/tmp',
      ...(local && { secrets: ['test-one'] })
    })
    t.equal(status, 200)
    t.match(body, {
      exitCode: 7,
      timedOut: false,
      durationMs: Number,
      stdout: 'out\na "b" $c|hello\nyou|/tmp\n',
      stderr: 'err\n',
      truncated: { stdout: false, stderr: false },
      bytes: { stdout: 28, stderr: 4 }
    })
    t.equal((await sh('pwd')).stdout, '/workspace\n', 'the sandbox\' workdir otherwise')
    if (local) t.equal((await sh('echo $ONE', { secrets: ['test-one'] })).stdout, '1\n')
  })

  await t.test('Input is given and ends; a command that does not read it is no mistake', async (t) => {
    const input = `${'ä'.repeat(300_000)}\n`
    t.match(await sh('wc -c', { stdin: input }), { stdout: /600001/, exitCode: 0 })
    t.match(await sh('cat'), { stdout: '', exitCode: 0 }, 'without input it is at its end')
    t.match(await sh('exit 4', { stdin: input }), { exitCode: 4 })
  })

  await t.test('Events come as the output does, in order, and exit is the last', async (t) => {
    const response = await post({ command: ['sh', '-c', 'echo one; echo problem >&2; sleep 1; echo two; exit 3'] }, 'text/event-stream')
    t.match(response.headers.get('content-type'), 'text/event-stream')
    t.match(response.headers.get('x-request-id'), /^req_/)
    const events: (ReceivedEvent & { at: number })[] = []
    for await (const event of readSse(response)) events.push({ ...event, at: performance.now() })
    t.equal(textOf(events, 'stdout'), 'one\ntwo\n')
    t.equal(textOf(events, 'stderr'), 'problem\n')
    t.match(events.at(-1), { event: 'exit', data: { exitCode: 3, timedOut: false, durationMs: Number } })
    t.ok(events.at(-1)!.at - events[0]!.at > 500, 'the first did not wait for the last')
    t.match(await stream({ command: ['true'] }), [{ event: 'exit', data: { exitCode: 0 } }])
  })

  await t.test('Characters that are split between chunks stay whole; other bytes go as base64', async (t) => {
    const split = 'printf "\\360\\237"; sleep 0.3; printf "\\221"; sleep 0.3; printf "\\251!"'
    t.equal(textOf(await stream({ command: ['sh', '-c', split] }), 'stdout'), '👩!')
    t.equal((await sh(split)).stdout, '👩!')
    t.equal(textOf(await stream({ command: ['printf', 'a\\360\\237'] }), 'stdout'), 'a\ufffd', 'a broken end is told')
    const bytes = ['printf', '\\000\\377\\200a\\n']
    const expected = Buffer.from([0, 255, 128, 97, 10])
    t.equal((await exec({ command: bytes, encoding: 'base64' })).body.stdout, expected.toString('base64'))
    const events = await stream({ command: bytes, encoding: 'base64' })
    const received = events.filter(({ event }) => event === 'stdout').map(({ data }) => Buffer.from(data.base64, 'base64'))
    t.strictSame(Buffer.concat(received), expected)
  })

  await t.test('Long output flows through without being kept; an answer keeps its head', async (t) => {
    const flood = (unit: string, size: number) => ['sh', '-c', `yes ${unit} | head -c ${size}`]
    const before = process.memoryUsage().rss
    let peak = 0
    const watch = setInterval(() => { peak = Math.max(peak, process.memoryUsage().rss) }, 50)
    const response = await post({ command: flood('0123456789', 100 * mebibyte) }, 'text/event-stream')
    let bytes = 0
    for await (const { event, data } of readSse(response)) if (event === 'stdout') bytes += data.text.length
    clearInterval(watch)
    t.equal(bytes, 100 * mebibyte)
    t.ok(peak - before < 150 * mebibyte, `grew by ${Math.round((peak - before) / mebibyte)} MiB`)

    const { body } = await exec({ command: ['sh', '-c', 'yes ä | head -c 20000000; yes e | head -c 3000000 >&2'] })
    t.match(body, {
      exitCode: 0, truncated: { stdout: true, stderr: true }, bytes: { stdout: 20_000_000, stderr: 3_000_000 }
    })
    t.equal(body.stdout, 'ä\n'.repeat(mebibyte / 3).slice(0, body.stdout.length), 'whole characters only')
    t.ok(Buffer.byteLength(body.stdout) > mebibyte - 4)
  })

  await t.test('A command that takes too long is ended with all it has started, and that is told', async (t) => {
    const { body } = await exec({ command: ['sh', '-c', 'sleep 4242 & trap "" TERM; echo started; sleep 4242; sleep 4242'], timeoutMs: 1000 })
    t.match(body, { timedOut: true, stdout: 'started\n', exitCode: 137 })
    t.ok(body.durationMs >= 1000 && body.durationMs < 15_000)
    t.equal(await countOf('sleep 4242'), 0)
    t.match(await sh('kill -KILL $$', { timeoutMs: 60_000 }), { exitCode: 137, timedOut: false }, 'a kill of its own is not')
  })

  await t.test('A daemon that holds the output open does not hold up the exit', async (t) => {
    const started = Date.now()
    const script = '(setsid sh -c "echo daemon; sleep 5353" &) ; echo parent; exit 5'
    const events = await stream({ command: ['sh', '-c', script] })
    t.match(events.at(-1), { event: 'exit', data: { exitCode: 5 } })
    t.match(textOf(events, 'stdout'), /parent\n/)
    t.ok(Date.now() - started < 20_000)
    t.equal(await countOf('sleep 5353'), 1, 'it was meant to stay')
    await sh('kill $(grep -l "sleep.5353" /proc/[0-9]*/cmdline | cut -d/ -f3)')
  })

  await t.test('When the client leaves, the command and its daemons end (10.4)', async (t) => {
    for (const [accept, seconds] of [['text/event-stream', '6161'], ['application/json', '6262']] as const) {
      const left = new AbortController()
      const script = `(setsid sleep ${seconds} &); echo up; sleep ${seconds}`
      const answer = post({ command: ['sh', '-c', script] }, accept, left.signal).catch(() => {})
      for (let tries = 0; tries < 50 && await countOf(`sleep ${seconds}`) === 0; tries++) await sleep(100)
      t.not(await countOf(`sleep ${seconds}`), 0, 'it runs')
      left.abort()
      await answer
      for (let tries = 0; tries < 100 && await countOf(`sleep ${seconds}`) > 0; tries++) await sleep(100)
      t.equal(await countOf(`sleep ${seconds}`), 0, accept)
    }
  })

  await t.test('A reader that is slow slows the command down, and gets everything', async (t) => {
    const response = await post({ command: ['sh', '-c', 'yes 0123456789 | head -c 40000000; echo done >&2'] }, 'text/event-stream')
    await sleep(1500)
    let bytes = 0
    let exit
    for await (const { event, data } of readSse(response)) {
      if (event === 'stdout') bytes += data.text.length
      if (event === 'exit') exit = data
    }
    t.equal(bytes, 40_000_000)
    t.match(exit, { exitCode: 0 })
  })

  await t.test('A command that does not exist is told, and so is a directory', async (t) => {
    // Whether the start fails or a shell says 127 is up to the place; a client is told either way.
    for (const json of [{ command: ['no-such-program'] }, { command: ['true'], workdir: '/no/such' }]) {
      const { status, body } = await exec(json)
      if (status === 200) t.ok([126, 127].includes(body.exitCode), JSON.stringify(body))
      else t.match({ status, body }, { status: 422, body: { code: 'COMMAND_FAILED', step: 'exec' } })
    }
  })

  await t.test('Every bad input is refused by the name of its field (6.8)', async (t) => {
    const cases: [object, RegExp][] = [
      [{}, /^body\.command is required/],
      [{ command: 'ls' }, /^body\.command must be array/],
      [{ command: [] }, /^body\.command /],
      [{ command: ['a\u0000b'] }, /^body\.command\.0 /],
      [{ command: ['echo', 'x'.repeat(65_536)] }, /^body\.command /],
      [{ command: ['ls'], workdir: 'x' }, /^body\.workdir /],
      [{ command: ['ls'], env: { 'A B': '' } }, /^body\.env\.A B /],
      [{ command: ['ls'], timeoutMs: 10 }, /^body\.timeoutMs /],
      [{ command: ['ls'], stdin: 1 }, /^body\.stdin /],
      [{ command: ['ls'], stdin: 'x'.repeat(mebibyte + 1) }, /^body\.stdin /],
      [{ command: ['ls'], encoding: 'hex' }, /^body\.encoding /],
      [{ command: ['ls'], pty: true }, /^body\.pty is not a known field/]
    ]
    for (const [json, message] of cases) {
      t.match(await exec(json), { status: 400, body: { code: 'BAD_REQUEST', message } }, `${message}`)
    }
    t.match(await exec({ command: ['ls'], secrets: ['other'] }), { status: 403, body: { code: 'FORBIDDEN' } })
    t.match(await exec({ command: ['ls'], secrets: ['test-none'] }), { status: 404, body: { code: 'SECRET_NOT_FOUND' } })
  })

  await t.test('A service that stops leaves no command behind', async (t) => {
    const alice = await service.app.accounts.authenticate(keys.alice)
    const replica = new SandboxService({
      client: service.app.modal.client,
      log: { info () {}, warn () {}, error () {} },
      image: { backend: 'local', claudeVersion: '1.0.0', claudeRegistry: 'http://registry.invalid' },
      timeouts: service.config.sandbox,
      deployment: 'test'
    })
    const command = await replica.exec(alice, id, { command: ['sleep', '8484'], encoding: 'utf8' })
    const result = command.collect(new AbortController().signal)
    // An exec is answered before its program has the process.
    for (let tries = 0; tries < 50 && await countOf('sleep 8484') !== 1; tries++) await sleep(100)
    t.equal(await countOf('sleep 8484'), 1)
    await replica.close()
    t.equal(await countOf('sleep 8484'), 0)
    t.match(await result, { exitCode: 143, timedOut: false })
  })

  await t.test('The end of the sandbox ends its commands, and later ones are refused', async (t) => {
    const response = await post({ command: ['sh', '-c', 'echo up; sleep 7373'] }, 'text/event-stream')
    const events = readSse(response)
    t.match((await events.next()).value, { event: 'stdout', data: { text: 'up\n' } })
    t.equal((await service.request(`${path}/${id}`, { method: 'DELETE' })).status, 200)
    let last
    for await (const event of events) last = event
    t.match(last, { event: /^(exit|error)$/ })
    if (last!.event === 'exit') t.ok(last!.data.exitCode > 128)
    else t.match(last!.data, { code: 'SANDBOX_ENDED' })
    t.match(await exec({ command: ['true'] }), { status: 409, body: { code: 'SANDBOX_ENDED' } })
  })
})
