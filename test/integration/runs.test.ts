import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { readSse, skip, startService, type ReceivedEvent, type Service } from '../helpers/service.js'

const modelKey = 'not-a-real-key-7261'
const scripted = (...turns: unknown[]) => `Please\n\`\`\`scripted\n${JSON.stringify(turns)}\n\`\`\``
const bash = (command: string) => [{ tool: 'Bash', input: { command } }]

t.test('Runs of the real CLI', { skip }, async (t) => {
  const service = await startService({ RUN_DISCONNECT_GRACE_MS: '1500', HEARTBEAT_MS: '500' })
  t.teardown(service.close)
  const id = await create(service)
  const run = async (body: object, headers = {}) =>
    await service.request(`/api/modal/sandbox/${id}/claude`, { method: 'POST', json: body, headers })
  const events = async (body: object) => await collect(await run(body))
  let conversation = ''
  let firstRun = ''

  await t.test('A prompt streams what Claude does and ends with one truthful completion (4.1-4.4, 4.7-4.10, 8.6)', async (t) => {
    const received = await events({ prompt: 'Hello there' })
    t.equal(received[0]!.event, 'run.started')
    const { sessionId, runId } = received[0]!.data
    const objects = received.filter(({ event }) => event === 'claude').map(({ data }) => data)
    t.ok(objects.filter(({ type }) => type === 'stream_event').length > 10, 'text comes in pieces')
    t.match(objects.find(({ subtype }) => subtype === 'init'), { cwd: '/workspace', session_id: sessionId })
    t.strictSame(objects.flatMap(({ message }) => message?.content ?? []).filter(({ type }) => type === 'tool_use').map(({ name }) => name), ['Write', 'Bash'])
    t.equal(received.filter(({ event }) => event === 'run.completed').length, 1)
    t.match(received.at(-1), { event: 'run.completed', data: { outcome: 'result', exitCode: 0, isError: false, sessionId } })
    const ids = received.filter((event) => event.id !== undefined).map((event) => Number(event.id))
    t.strictSame(ids, [...new Set(ids)].toSorted((one, other) => one - other), 'ids only grow')
    conversation = sessionId
    firstRun = runId
    t.match(await exec(service, id, 'cat hello-*.sh'), /Hello there/, 'the file is real')
  })

  await t.test('A reader that comes back gets every later event once, as events and as pages', async (t) => {
    const path = `/api/modal/sandbox/${id}/claude/${firstRun}`
    const all = (await collect(await service.request(`${path}/events`))).filter((event) => event.id !== undefined)
    const middle = all[Math.floor(all.length / 2)]!
    const rest = await collect(await service.request(`${path}/events`, { headers: { 'last-event-id': middle.id! } }))
    t.strictSame(rest.map((event) => event.id), all.slice(all.indexOf(middle) + 1).map((event) => event.id))
    const last = await service.request(`${path}/events`, { headers: { 'last-event-id': all.at(-1)!.id! } })
    t.equal(last.status, 204, 'which makes an EventSource stop')
    const paged: unknown[] = []
    for (let next = 0, done = false; !done;) {
      const page = await (await service.request(`${path}/events?after=${next}`, { headers: { accept: 'application/json' } })).json() as any
      paged.push(...page.events.map((event: { id: number }) => String(event.id)))
      next = page.next
      done = page.done
    }
    t.strictSame(paged, all.map((event) => event.id))
    t.match(await (await service.request(path)).json(), { runId: firstRun, status: 'completed', completion: { outcome: 'result' } })
    t.match(await (await service.request(`/api/modal/sandbox/${id}/claude`)).json(), { runs: [{ runId: firstRun }] })
    t.equal((await service.request(`${path}/cancel`, { method: 'POST' })).status, 200, 'cancelling an ended run changes nothing')
  })

  await t.test('A conversation goes on, also in the next sandbox on the volume', async (t) => {
    t.match(JSON.stringify(await events({ prompt: 'And again', sessionId: conversation })), /turn 2 of our conversation/)
    await service.request(`/api/modal/sandbox/${id}`, { method: 'DELETE' })
    const next = await create(service)
    const received = await collect(await service.request(`/api/modal/sandbox/${next}/claude`, { method: 'POST', json: { prompt: 'Still there?', continue: true } }))
    t.match(JSON.stringify(received), /turn 3 of our conversation/)
    t.equal(received.at(-1)!.data.sessionId, conversation)
    const path = `/api/modal/sandbox/${next}/sessions`
    const { sessions } = await (await service.request(path)).json() as any
    t.match(sessions, [{ sessionId: conversation, title: 'Hello there' }])
    t.ok(Date.parse(sessions[0].startedAt) < Date.parse(sessions[0].updatedAt))
    const messages: any[] = []
    for (let after = '0', pages = 1; after !== null; pages++) {
      const page = await (await service.request(`${path}/${conversation}?after=${after}&limit=7`)).json() as any
      messages.push(...page.messages)
      after = page.next
      t.ok(pages < 20)
    }
    t.equal(messages.length, sessions[0].messages)
    const prompts = messages.filter(({ type, message }) => type === 'user' && typeof message.content === 'string')
    t.strictSame(prompts.map(({ message }) => message.content), ['Hello there', 'And again', 'Still there?'])
    t.match(messages.filter(({ type }) => type === 'assistant')[0].message, { role: 'assistant', content: [{ type: 'text' }] })
    const runs = await (await service.request(`/api/modal/sandbox/${next}/claude`)).json() as any
    t.match(runs.runs.map(({ prompt }: any) => prompt), ['Still there?', 'And again', 'Hello there'], 'and its runs, of both sandboxes')
    const costs = runs.runs.map(({ completion }: any) => completion.costUsd)
    t.ok(costs.every((cost: number) => cost > 0.1 && cost < 0.2), `each run has its own cost, not the conversation's: ${costs}`)
    for (const [unknown, code] of [['x', 'SESSION_NOT_FOUND'], ['00000000-0000-4000-8000-000000000000', 'SESSION_NOT_FOUND'], [`${conversation}?after=x`, 'BAD_REQUEST']]) {
      t.match(await (await service.request(`${path}/${unknown}`)).json(), { code })
    }
    t.match(await (await service.request(path, { as: 'bob' })).json(), { code: 'SANDBOX_NOT_FOUND' })

    const forged = '11111111-1111-4111-8111-111111111111'
    const line = (content: string) =>
      `{"uuid":"u","timestamp":"2026-01-01T00:00:00Z","type":"user","message":{"role":"user","content":${content}}}\n`
    const script = `mkdir -p .claude-sandbox/projects/x; cat > .claude-sandbox/projects/x/${forged}.jsonl`
    await service.request(`/api/modal/sandbox/${next}/exec`, {
      method: 'POST',
      headers: { accept: 'application/json' },
      json: { command: ['sh', '-c', script], stdin: line('['.repeat(50_000) + ']'.repeat(50_000)) + line('"fine"') }
    })
    const tampered = await service.request(`${path}/${forged}`)
    t.match(await tampered.json(), { messages: [{ message: { content: 'fine' } }] }, 'what is nested too deep is left out')
    t.equal(tampered.status, 200)
    await service.request(`/api/modal/sandbox/${next}`, { method: 'DELETE' })
  })

  await t.test('Bad input is told with its field', async (t) => {
    const other = await create(service)
    const cases: [object, RegExp, number][] = [
      [{}, /body\.prompt is required/, 400], [{ prompt: '' }, /body\.prompt must NOT have fewer/, 400], [{ prompt: 'x', sessionId: 'x' }, /body\.sessionId/, 400],
      [{ prompt: 'x', model: '--help' }, /body\.model/, 400], [{ prompt: 'x', maxTurns: 0 }, /body\.maxTurns/, 400], [{ prompt: 'x', promtp: 1 }, /body\.promtp/, 400],
      [{ prompt: 'x', allowedTools: ['-x'] }, /body\.allowedTools\.0/, 400], [{ prompt: 'ü'.repeat(600_000) }, /body\.prompt is larger/, 413],
      [{ prompt: 'a\0b' }, /body\.prompt has a NUL/, 400], [{ prompt: ' \n' }, /body\.prompt is blank/, 400], [{ prompt: 'x', continue: true, sessionId: conversation }, /body\.continue/, 400],
      [{ prompt: 'x', continue: true, fork: { sessionId: conversation } }, /body\.continue and body\.fork exclude/, 400],
      [{ prompt: 'x', fork: { at: conversation } }, /body\.fork\.sessionId is required/, 400],
      [{ prompt: 'x', timeoutMs: 1500 }, /body\.timeoutMs/, 400], [{ prompt: 'x', outputFormat: 'xml' }, /body\.outputFormat/, 400]
    ]
    for (const [json, message, status] of cases) {
      const answer = await service.request(`/api/modal/sandbox/${other}/claude`, { method: 'POST', json })
      t.match(await answer.json(), { statusCode: status, message })
    }
    await service.request(`/api/modal/sandbox/${other}`, { method: 'DELETE' })
    const late = await service.request(`/api/modal/sandbox/${other}/claude`, { method: 'POST', json: { prompt: 'x' } })
    t.match(await late.json(), { statusCode: 409, code: 'SANDBOX_ENDED' })
  })
})

t.test('Runs that are stopped, and what they must not show', { skip }, async (t) => {
  const service = await startService({ RUN_DISCONNECT_GRACE_MS: '1500', HEARTBEAT_MS: '500' })
  t.teardown(service.close)
  const id = await create(service)
  const path = `/api/modal/sandbox/${id}/claude`
  const start = async (json: object, headers = {}) => await service.request(path, { method: 'POST', json, headers })
  const stubborn = scripted(bash("(setsid sleep 4242 &); env -i setsid sleep 4242 & trap '' TERM; sleep 4242"))

  await t.test('Cancel in the middle of a tool leaves nothing alive, not even daemons and what ignores TERM', async (t) => {
    const response = await start({ prompt: stubborn })
    const received: ReceivedEvent[] = []
    let cancelled: Promise<any> | undefined
    for await (const event of readSse(response)) {
      received.push(event)
      if (cancelled !== undefined || event.event !== 'claude' || event.data.type !== 'assistant') continue
      t.match(await alive(service, id, 4242, 3), '3', 'the tool, its daemon and one without environment run')
      const busy = await start({ prompt: 'x' })
      t.match(await busy.json(), { statusCode: 409, code: 'RUN_ACTIVE', runId: received[0]!.data.runId })
      t.match(await (await service.request(`/api/modal/sandbox/${id}`)).json(), { activeRun: { runId: received[0]!.data.runId } })
      cancelled = service.request(`${path}/${received[0]!.data.runId}/cancel`, { method: 'POST' }).then(async (answer) => await answer.json())
    }
    t.match(await cancelled, { left: 0, status: 'completed', completion: { outcome: 'cancelled' } })
    t.match(received.at(-1), { event: 'run.completed', data: { outcome: 'cancelled', isError: true } })
    t.equal(await alive(service, id, 4242, 0), '0')
  })

  await t.test('When the client goes away, the run ends after the grace time (4.6)', async (t) => {
    const leaving = new AbortController()
    const response = await service.request(path, { method: 'POST', json: { prompt: stubborn }, signal: leaving.signal })
    let runId = ''
    for await (const { event, data } of readSse(response)) {
      if (event === 'run.started') runId = data.runId
      if (event === 'claude' && data.type === 'assistant') break
    }
    leaving.abort()
    t.match(await (await service.request(`${path}/${runId}`)).json(), { status: 'running' })
    t.match(await settled(service, `${path}/${runId}`), { status: 'completed', completion: { outcome: 'cancelled' } })
    t.equal(await alive(service, id, 4242, 0), '0')
  })

  await t.test('A run that may go on alone does, and one that is attached to in time, too', async (t) => {
    const prompt = scripted(bash('sleep 3; echo done-later'))
    const answer = await start({ prompt, onDisconnect: 'continue' }, { prefer: 'respond-async' })
    t.equal(answer.status, 202)
    const { runId } = await answer.json() as { runId: string }
    t.match(await settled(service, `${path}/${runId}`), { completion: { outcome: 'result' } })
    const attached = await (await start({ prompt }, { prefer: 'respond-async' })).json() as { runId: string }
    const received = await collect(await service.request(`${path}/${attached.runId}/events`))
    t.equal(received.at(-1)!.data.outcome, 'result')
    t.ok(received.some(({ event }) => event === 'heartbeat'), 'heartbeats have a name')
  })

  await t.test('Prompts that look like commands or options, and large ones, arrive as text', async (t) => {
    const echo = 'x'.repeat(1_000_000)
    for (const prompt of ['/clear', '-x --help', `${echo} end`]) {
      const received = await collect(await start({ prompt, maxTurns: 5 }))
      t.match(received.at(-1)!.data, { outcome: 'result' }, prompt.slice(0, 10))
    }
  })

  await t.test('The model\'s errors, long lines and timeouts are told apart (4.5)', async (t) => {
    const refused = await collect(await start({ prompt: scripted({ error: { status: 401, type: 'authentication_error', message: 'invalid x-api-key' } }) }))
    t.match(refused.at(-1)!.data, { outcome: 'agent_error', isError: true, exitCode: 1 })
    const long = await collect(await start({ prompt: scripted([{ text: 'äbc🦄', repeat: 200_000, chunk: 65536 }]) }))
    t.ok(long.some(({ data }) => JSON.stringify(data).length > 1_000_000), 'a line of more than 1 MB')
    const slow = await collect(await start({ prompt: stubborn, timeoutMs: 2000 }))
    t.match(slow.at(-1)!.data, { outcome: 'timeout' })
    const text = await collect(await start({ prompt: scripted([{ text: 'plain words' }]), outputFormat: 'text' }))
    t.match(text.find(({ event }) => event === 'output')?.data.text, /plain words/)
    t.equal(text.at(-1)!.data.outcome, 'result')
  })

  await t.test('Claude\'s tools can not find the model key: not in an environment, an argument or a descriptor (4.8)', async (t) => {
    const key = service.app.modal.modelEnv['ANTHROPIC_API_KEY']!
    const look = 'env; for f in /proc/[0-9]*; do tr "\\0" "\\n" < $f/environ; tr "\\0" " " < $f/cmdline; done; ' +
      'for f in /proc/[0-9]*/fd/3; do timeout 1 head -c 1000 $f; done; echo looked-everywhere'
    const received = JSON.stringify(await collect(await start({ prompt: scripted(bash(`(${look}) 2>/dev/null`)) })))
    t.match(received, /IS_SANDBOX=1.*looked-everywhere/)
    t.ok(key.length > 20)
    t.notOk(received.includes(key))
    t.notMatch(received, /\[redacted\]/, 'nothing had to be taken out')
  })

  await t.test('Nobody else sees a run: another account gets the same 404 on every route', async (t) => {
    const { runs: [{ runId }] } = await (await service.request(path)).json() as { runs: [{ runId: string }] }
    const other = await create(service, 'bob')
    for (const [method, route] of [['POST', path], ['GET', path], ['GET', `${path}/${runId}`], ['GET', `${path}/${runId}/events`], ['POST', `${path}/${runId}/cancel`]] as const) {
      const answer = await service.request(route, { method, as: 'bob', ...(route === path && method === 'POST' && { json: { prompt: 'x' } }) })
      t.match(await answer.json(), { statusCode: 404, code: 'SANDBOX_NOT_FOUND' }, `${method} ${route}`)
    }
    const guessed = await service.request(`/api/modal/sandbox/${other}/claude/${runId}/events`, { as: 'bob' })
    t.match(await guessed.json(), { statusCode: 404, code: 'RUN_NOT_FOUND' }, 'a run id of another sandbox')
  })

  await t.test('Terminating the sandbox ends its run and says so', async (t) => {
    const received = collect(await start({ prompt: stubborn }))
    await sleep(1500)
    const answer = await (await service.request(`/api/modal/sandbox/${id}`, { method: 'DELETE' })).json()
    t.match(answer, { status: 'terminated', steps: [{ step: 'runs', ok: true }, { step: 'stop', ok: true }, { step: 'terminate', ok: true }] })
    t.match((await received).at(-1)!.data, { outcome: 'cancelled' })
  })
})

t.test('Claude programs that misbehave', { skip: skip || (process.env.TEST_LIVE === '1' && 'needs a stand-in for claude on the PATH') }, async (t) => {
  const service = await startService({ ANTHROPIC_API_KEY: modelKey, RUN_DISCONNECT_GRACE_MS: '20000' })
  t.teardown(service.close)
  const id = await create(service, 'alice', { env: { PATH: '/workspace/bin:/usr/local/bin:/usr/bin:/bin' } })
  const init = 'echo \'{"type":"system","subtype":"init","session_id":"s-1"}\''
  const result = 'echo \'{"type":"result","is_error":false,"session_id":"s-1"}\''
  const cleared = [['conversation_reset', '', 1], ['system', 'init', 2], ['result', 'success', 2]]
    .map(([type, subtype, session]) => `echo '{"type":"${type}","subtype":"${subtype}","is_error":false,"session_id":"s-${session}"}'`)
    .join('; ')
  const fake = async (script: string, body: object = {}) => {
    await exec(service, id, `mkdir -p bin && printf '%s\\n' '#!/bin/sh' ${quote(script)} > bin/claude && chmod +x bin/claude`)
    return await collect(await service.request(`/api/modal/sandbox/${id}/claude`, { method: 'POST', json: { prompt: 'x', ...body } }))
  }
  const cases: [string, string, object][] = [
    ['no result', `${init}; exit 0`, { outcome: 'exit', exitCode: 0, isError: true, sessionId: 's-1' }],
    ['an exit code', `${init}; exit 3`, { outcome: 'exit', exitCode: 3 }],
    ['ended by a signal', `${init}; kill -KILL $$`, { outcome: 'signal', exitCode: 137 }],
    ['its output closed early', `${init}; ${result}; exec >/dev/null 2>&1; sleep 1; exit 0`, { outcome: 'result', exitCode: 0 }],
    ['a daemon that holds the terminal', `${init}; ${result}; (setsid sleep 30 &); exit 0`, { outcome: 'result', exitCode: 0 }],
    ['a hang after its result', `${init}; ${result}; trap '' TERM INT; while :; do sleep 1; done`, { outcome: 'result' }],
    ['a hang after /clear', `${init}; ${cleared}; trap '' TERM INT; while :; do sleep 1; done`, { outcome: 'result', sessionId: 's-2' }]
  ]
  for (const [name, script, data] of cases) {
    await t.test(`A Claude with ${name}`, async (t) => {
      t.match((await fake(script)).at(-1), { event: 'run.completed', data })
    })
  }

  await t.test('Broken lines and plain text are output, and the prompt came by file', async (t) => {
    const received = await fake(`echo '{"type":'; printf 'a\\r\\n'; cat; echo "argv: $*"; ${result}`, { prompt: '/the prompt' })
    const texts = received.filter(({ event }) => event === 'output').map(({ data }) => data.text)
    t.strictSame(texts.slice(0, 2), ['{"type":\n', 'a\n'])
    t.match(received.find(({ data }) => data.type === 'user')!.data, { message: { role: 'user', content: '\n/the prompt' } })
    t.match(texts.join(''), /argv: -p/)
    t.notMatch(texts.join(''), /the prompt/, 'from standard input, and not in the arguments')
  })

  await t.test('A token in place of the model key reaches Claude, by a descriptor, and nothing else: no event, no argument, no environment (4.8, 9.4)', async (t) => {
    const received = await fake(`key=$(cat <&3); echo "length \${#key}"; echo "$key"; env; cat /proc/$$/cmdline; cat /proc/$PPID/environ; ${result}`)
    const all = JSON.stringify(received)
    t.match(all, /length \d{3}\b/, 'a token is there')
    t.notMatch(all, new RegExp(modelKey))
    t.match(all, /\[redacted\]/, 'what a program prints of it is taken out')
    t.notMatch(all, /ANTHROPIC_API_KEY=/)
  })
})

async function create (service: Service, as: 'alice' | 'bob' = 'alice', more: object = {}): Promise<string> {
  const response = await service.request('/api/modal/sandbox', { method: 'POST', as, json: { volume: { name: 'work' }, ...more } })
  const body = await response.json() as { id: string }
  if (!response.ok) throw new Error(JSON.stringify(body))
  return body.id
}

async function collect (response: Response): Promise<ReceivedEvent[]> {
  if (!response.ok) throw new Error(await response.text())
  const events: ReceivedEvent[] = []
  for await (const event of readSse(response)) events.push(event)
  return events
}

async function exec (service: Service, id: string, script: string): Promise<string> {
  const response = await service.request(`/api/modal/sandbox/${id}/exec`, {
    method: 'POST', json: { command: ['sh', '-c', script] }, headers: { accept: 'application/json' }
  })
  return (await response.json() as { stdout: string }).stdout
}

/** How many processes sleep for so many seconds; waits until it is `expected`, for a few seconds at most. */
async function alive (service: Service, id: string, seconds: number, expected: number): Promise<string> {
  const count = `n=0; for f in /proc/[0-9]*/cmdline; do [ "$(tr '\\0' ' ' < $f 2>/dev/null)" = 'sleep ${seconds} ' ] && n=$((n+1)); done; printf $n`
  let found = ''
  for (let tries = 0; tries < 20 && found !== String(expected); tries++) found = await exec(service, id, count)
  return found
}

async function settled (service: Service, path: string): Promise<any> {
  for (;;) {
    const run = await (await service.request(path)).json() as { status: string }
    if (run.status === 'completed') return run
    await sleep(100)
  }
}

function quote (text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`
}
