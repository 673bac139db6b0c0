import { createHash } from 'node:crypto'
import t, { type Test } from 'tap'
import { startScriptedModel, type Script, type ScriptedModel } from '../../../emulator/model/index.js'
import { eventually } from '../../helpers/containers.js'
import { replacePauses, scripted, startModel, withoutClaude } from '../../helpers/scripted-model.js'

t.jobs = 3

t.test('The API refuses what Anthropic refuses, in its shape, and remembers requests without keys', {
  buffered: true
}, async (t) => {
  const model = await startModel(t)
  const api = apiOf(model)
  const hello = { model: 'm', max_tokens: 9, messages: [{ role: 'user', content: 'hello' }] }

  t.equal((await fetch(`${model.url}/api/hello`, { method: 'HEAD' })).status, 200)
  t.match(await api('/v1/nothing', hello), { status: 404, body: { type: 'error', error: { type: 'not_found_error' } } })
  const refused = await api('/v1/messages', hello, { 'x-api-key': 'sk-ant-other' })
  t.match(refused, { status: 401, body: { error: { type: 'authentication_error', message: 'invalid x-api-key' } } })
  t.match(refused.body.request_id, /^req_/)
  t.equal(refused.body.request_id, refused.headers.get('request-id'))
  t.match(await api('/v1/messages', '{'), { status: 400, body: { error: { type: 'invalid_request_error' } } })
  t.match(await api('/v1/messages', { ...hello, messages: [{}] }), {
    status: 400, body: { error: { message: /^messages\.0\.role: / } }
  })
  t.match(await api('/v1/messages', 'x'.repeat(33 * 1024 * 1024)), { status: 413 })
  t.match(await api('/v1/messages/count_tokens', hello), { status: 200, body: { input_tokens: 19 } })

  const bearer = { 'x-api-key': '', authorization: `Bearer ${model.apiKey}` }
  t.match(await api('/v1/messages?beta=true', hello, bearer), {
    status: 200, body: { role: 'assistant', stop_reason: 'end_turn', content: [{ text: withoutClaude }] }
  })
  t.match(model.requests.at(-1), { method: 'POST', path: '/v1/messages', model: 'm', prompt: 'hello', keyMatched: true })
  t.equal(model.requests.at(-1)?.promptSha256, createHash('sha256').update('hello').digest('hex'))
  t.match(model.requests[2], { keyMatched: false })
  t.notMatch(JSON.stringify(model.requests), /sk-ant/)
  for (let i = 0; i < 210; i++) await fetch(`${model.url}/api/hello`, { method: 'HEAD' })
  t.equal(model.requests.length, 200, 'no more are kept')

  await t.rejects(startScriptedModel({ host: '0.0.0.0' }), { message: /loopback only/ })
  await t.rejects(startScriptedModel({ port: Number(new URL(model.url).port) }), { cause: { code: 'EADDRINUSE' } })
})

t.test('Scripts are found by name, checked, and answered turn by turn, per session and prompt', {
  buffered: true
}, async (t) => {
  const model = await startModel(t)
  const api = apiOf(model)
  const ask = async (prompt: string, session = 'a') => {
    const answer = await api('/v1/messages', {
      model: 'm', messages: [{ role: 'user', content: prompt }]
    }, { 'x-claude-code-session-id': session })
    return answer.body.content?.[0]?.text ?? answer.status
  }
  model.script('two', [{ error: { status: 500 } }, { blocks: [{ text: 'Two' }], stopReason: 'max_tokens' }])
  model.script('large', [{ blocks: [{ text: 'Large' }], inputTokens: 820_000 }])
  const large = { model: 'm', messages: [{ role: 'user', content: '```scripted\nlarge\n```' }] }
  t.equal((await api('/v1/messages', large)).body.usage.input_tokens, 820_000)
  const two = 'Please:\n```scripted\ntwo\n```\nThanks'
  t.same([await ask(two), await ask(two), await ask(two)], [500, 'Two', 'The script has ended.'])
  t.equal(await ask(two, 'b'), 500, 'another session starts at the first turn')
  t.match(await ask('```scripted\nthree\n```'), 'no script is registered as "three"')
  t.match(await ask('```scripted\n[{]\n```'), "can't be used")
  t.match(await ask('```scripted\n[[{"txt": "?"}]]\n```'), "block can't be used: not a script at /0")
  t.throws(() => model.script('bad', [{ hang: 'yes' }] as never), { message: /^not a script at \/0/ })
  t.throws(() => model.script('huge', [[{ text: 'x', repeat: 1e9 }]]), { message: /at most/ })
})

t.test('A plan is written where the client says, as long as it is in plan mode', { buffered: true }, async (t) => {
  const api = apiOf(await startModel(t))
  const ask = async (...system: string[]) => {
    const prompt = '```scripted\n[{"blocks": [{"plan": "# Do it"}], "repeat": 9}]\n```'
    const messages = [{ role: 'user', content: prompt }, ...system.map((content) => ({ role: 'system', content }))]
    return (await api('/v1/messages', { model: 'm', messages })).body.content[0]
  }
  const create = 'Plan mode is active.\nNo plan file exists yet. You should create your plan at /home/.claude/plans/a.b.md using the Write tool.'
  const exists = 'A plan file already exists at /plans/two.md. You can read it'
  const left = '## Exited Plan Mode\nThe plan file is located at /plans/two.md if you need it.'
  const none = { text: /not in plan mode/ }
  t.match(await ask(create), { name: 'Write', input: { file_path: '/home/.claude/plans/a.b.md', content: '# Do it' } })
  t.match(await ask(create, exists), { input: { file_path: '/plans/two.md' } })
  t.match(await ask(create, left), none)
  t.match(await ask(create, left, exists), { input: { file_path: '/plans/two.md' } })
  t.match(await ask('Nothing of a plan'), none)
})

t.test('The last thing that the user typed is the prompt, whatever the CLI writes around it', {
  buffered: true
}, async (t) => {
  const model = await startModel(t)
  const reminder = { type: 'text', text: '<system-reminder>\nBe kind\n</system-reminder>\n' }
  const { body } = await apiOf(model)('/v1/messages', {
    model: 'm',
    system: [{ type: 'text', text: 'You are a CLI.\n - Primary working directory: /elsewhere' }],
    tools: [{ name: 'Write' }, { name: 'Bash' }],
    messages: [
      { role: 'user', content: [reminder, { type: 'text', text: 'failed before' }, { type: 'text', text: 'first' }] },
      { role: 'system', content: '# Environment\n - Primary working directory: /work/here\n' },
      { role: 'assistant', content: [{ type: 'tool_use', id: 't', name: 'Bash', input: {} }] },
      {
        role: 'user',
        content: [
          { type: 'tool_result', tool_use_id: 't', is_error: true, content: 'killed' },
          { type: 'text', text: '[Request interrupted by user for tool use]' }
        ]
      },
      { role: 'user', content: `${reminder.text}\nsecond\n` },
      { role: 'system', content: '<total_tokens>1</total_tokens>' }
    ]
  })
  t.equal(model.requests.at(-1)?.prompt, '\nsecond\n')
  t.match(body.content, [
    { text: /turn 3 [^]*> second/ }, { name: 'Write', input: { file_path: /^\/work\/here\/hello-second-/ } }
  ])
})

t.test('A client that goes away stops its stream, and close ends open ones without waiting (4.6)', async (t) => {
  const pauses = countPauses(t, 600_000)
  const model = await startModel(t)
  const open = async (turn: Script[number], signal?: AbortSignal) => {
    const response = await fetch(`${model.url}/v1/messages`, {
      method: 'POST',
      ...(signal && { signal }),
      headers: { 'x-api-key': model.apiKey },
      body: JSON.stringify({ model: 'm', stream: true, messages: [{ role: 'user', content: scripted([turn]) }] })
    })
    const reader = response.body!.getReader()
    await reader.read()
    return reader
  }
  const client = new AbortController()
  await open([{ text: 'slow', chunk: 1, delayMs: 600_000 }], client.signal)
  t.ok(await eventually(async () => pauses.pending === 1), 'the next piece waits for its time')
  client.abort()
  t.ok(await eventually(async () => pauses.pending === 0), 'and no more once the client is gone')

  const readers = [await open([{ text: 'slow', delayMs: 600_000 }]), await open({ blocks: [], hang: true })]
  t.ok(await eventually(async () => pauses.pending === 1), 'a stream is in the middle of a pause')
  await Promise.all([model.close(), ...readers.map((reader) => t.rejects(readToEnd(reader)))])
  t.ok(await eventually(async () => pauses.pending === 0), 'which close has not waited for')
})

function apiOf ({ url, apiKey }: ScriptedModel) {
  return async (path: string, body: object | string, headers: Record<string, string> = {}) => {
    const response = await fetch(url + path, {
      method: 'POST',
      headers: { 'x-api-key': apiKey, ...headers },
      body: typeof body === 'string' ? body : JSON.stringify(body)
    })
    return { status: response.status, headers: response.headers, body: await response.json() as any }
  }
}

/** Counts the pending pauses of this length. */
function countPauses (t: Test, ms: number) {
  const pauses = { pending: 0 }
  replacePauses(t, ms, async (pause) => {
    pauses.pending++
    await pause().finally(() => { pauses.pending-- })
  })
  return pauses
}

async function readToEnd (reader: ReadableStreamDefaultReader<Uint8Array>) {
  while (!(await reader.read()).done);
}
