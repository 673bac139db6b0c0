import { setImmediate, setTimeout as sleep } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { readAsked } from '../../services/gateway/asked.js'
import type { CounterStore } from '../../services/gateway/spending.js'
import { event, realKey, startGateway, startSse } from '../helpers/gateway.js'

const messages = '/v1/messages'
/** May cost $22 in the end, so that two do not fit into $30. */
const large = Buffer.from(JSON.stringify({ model: 'claude-opus-5-5', max_tokens: 1_000_000 }))
const budget = { monthlyBudgetUsd: 30 }

type Stage = Awaited<ReturnType<typeof startGateway>>

/** Whether a request of the same account is let through at once. */
async function isFree ({ gateway, open }: Stage) {
  const exchange = await gateway.admit((await open(budget)).token, 0)
  const passed = await Promise.race([exchange.prepare(messages, undefined, large).then(() => true), sleep(1000, false)])
  exchange.abort()
  return passed
}

t.test('A run that ends while a request waits for its budget leaves nothing reserved', async (t) => {
  const stage = await startGateway(t)
  const { gateway, open } = stage
  const { token, runId } = await open(budget)
  const first = await gateway.admit(token, 0)
  await first.prepare(messages, undefined, large)
  const waiting = (await gateway.admit(token, 0)).prepare(messages, undefined, large)
  await setImmediate()
  gateway.close(runId)
  await t.rejects(waiting, { message: /^The run .* has ended/ })
  t.ok(await isFree(stage))
})

t.test('A client that leaves while the spending is read leaves nothing reserved', async (t) => {
  let read = () => {}
  const reading = new Promise<void>((resolve) => { read = resolve })
  const store: CounterStore = { write: async () => {}, readOthers: async () => { await reading; return [] } }
  const stage = await startGateway(t, { store })
  const exchange = await stage.gateway.admit((await stage.open(budget)).token, 0)
  const waiting = exchange.prepare(messages, undefined, large)
  exchange.abort()
  read()
  await t.rejects(waiting, { message: /^The run .* has ended/ })
  t.ok(await isFree(stage))
})

t.test('A run that another replica has started, and that ends while Modal is asked about it, is not let in', async (t) => {
  const { gateway, tokens, open } = await startGateway(t, {
    runState: async ({ runId }) => {
      gateway.closeOther(runId)
      return 'running'
    }
  })
  const { grant } = await open()
  await t.rejects(gateway.admit(await tokens.sign({ ...grant, runId: 'run_b' }), 0), { message: /^The run .* has ended/ })
})

t.test('A prompt that was given up before its answer began is charged with the most that it may cost', async (t) => {
  const { open, post, gateway, received } = await startGateway(t, { answer: () => {} })
  const costOf = async (asked: object) => {
    const { token, runId } = await open()
    const before = received.length
    const answer = post(token, { system: 'x'.repeat(300_000), inference_geo: 'global', ...asked })
    while (received.length === before) await sleep(5)
    const { costUsd } = gateway.close(runId)!
    await t.rejects(answer.then(async (response) => { if (response.status !== 200) throw new Error('cut') }))
    return costUsd
  }
  const plain = 100_000 * 4 / 1e6
  const cached = (control: object) => ({
    messages: [{ role: 'user', content: [{ type: 'text', text: 'x', cache_control: control }] }]
  })
  for (const [name, asked, factor] of [
    ['as input', {}, 1],
    ['written to the cache', cached({ type: 'ephemeral' }), 1.25],
    ['written to the cache for an hour', cached({ type: 'ephemeral', ttl: '1h' }), 2],
    ['cached by one field for all', { cache_control: { type: 'ephemeral', ttl: '1h' } }, 2],
    ['cached behind a tool', { tools: [{ name: 'A', input_schema: {}, cache_control: { type: 'ephemeral' } }] }, 1.25],
    ['in the US', { inference_geo: 'us' }, 1.1],
    ['in the US, if that is what the workspace is set to', { inference_geo: undefined }, 1.1]
  ] as const) {
    const costUsd = await costOf(asked)
    t.ok(costUsd >= plain * factor && costUsd < plain * factor * 1.1, `${name}: ${costUsd}`)
  }
  t.ok(await costOf({ system: '龘'.repeat(100_000) }) >= 3 * plain, 'a token of rare characters may be a byte')
})

async function outputOf (t: Test, line: string) {
  const { open, post, gateway } = await startGateway(t, {
    answer: (_request, response) => {
      startSse(response, { input: 10 })
      for (let i = 0; i < 100; i++) response.write(line)
      setTimeout(() => { response.destroy() }, 50)
    }
  })
  const { token, runId } = await open()
  await t.rejects((await post(token)).text())
  return Number(gateway.close(runId)!.usage['output_tokens'])
}

t.test('An answer that is cut is charged with the most tokens that its text may be', async (t) => {
  const delta = (text: string) => event({ type: 'content_block_delta', index: 0, delta: { type: 'text_delta', text } })
  const escaped = (text: string) => delta('@').replace('@', [...text].map((letter) =>
    [...Array(letter.length).keys()].map((at) => `\\u${letter.charCodeAt(at).toString(16).padStart(4, '0')}`).join('')).join(''))
  for (const [text, most] of [['龘', 3], ['🫠', 4], ['ю', 2], ['7', 1], ['}', 1], ['\n', 1]] as const) {
    for (const write of [delta, escaped]) {
      const tokens = await outputOf(t, write(text.repeat(100)))
      t.ok(tokens >= 10_000 * most && tokens < 10_000 * most * 1.1, `${text} as ${write.name}: ${tokens}`)
    }
  }
  const tokens = await outputOf(t, delta('what people write '.repeat(100)))
  t.ok(tokens >= 60_000 && tokens < 66_000, `text: ${tokens}`)
})

t.test('Tools of the API read a cached prompt again, too', async (t) => {
  const { open, post, gateway } = await startGateway(t, {
    answer: (_request, response) => {
      response.writeHead(200, { 'content-type': 'text/event-stream' })
      const usage = { input_tokens: 10, cache_creation_input_tokens: 1000, cache_read_input_tokens: 500 }
      response.write(event({ type: 'message_start', message: { model: 'claude-opus-5-5', usage } }))
      const block = { type: 'server_tool_use', name: 'web_search' }
      response.write(event({ type: 'content_block_start', index: 0, content_block: block }))
      setTimeout(() => { response.destroy() }, 50)
    }
  })
  const { token, runId } = await open()
  await t.rejects((await post(token)).text())
  const { usage } = gateway.close(runId)!
  t.match(usage, { input_tokens: 20, cache_creation_input_tokens: 1000, cache_read_input_tokens: 2000 })
})

t.test('Headers that change a price, or choose who pays, do not pass', async (t) => {
  const kept = {
    accept: 'application/json',
    'accept-language': '*',
    'anthropic-beta': 'interleaved-thinking-2025-05-14',
    'anthropic-version': '2023-06-01',
    'user-agent': 'claude-cli/2.1.330 (external, sdk-cli)',
    'x-app': 'cli',
    'x-claude-code-session-id': 'a',
    'x-stainless-retry-count': '0'
  }
  const dropped = {
    'x-amzn-bedrock-performanceconfig-latency': 'optimized',
    'x-amzn-bedrock-service-tier': 'priority',
    'x-amzn-bedrock-guardrailidentifier': 'g',
    'x-amzn-bedrock-guardrailversion': '1',
    'x-amzn-bedrock-trace': 'ENABLED',
    'x-amz-security-token': 'x',
    'anthropic-workspace-id': 'w',
    'anthropic-organization-id': 'o',
    'x-anything': 'y'
  }
  for (const kind of ['anthropic', 'bedrock'] as const) {
    const { open, post, received } = await startGateway(t, {
      provider: (baseUrl) => ({ kind, baseUrl, region: 'us-east-1', apiKey: realKey })
    })
    const path = kind === 'anthropic' ? messages : '/model/us.anthropic.claude-opus-5-5/invoke-with-response-stream'
    await (await post((await open()).token, {}, { path, headers: { ...kept, ...dropped } })).text()
    t.match(received[0]!.headers, { ...kept, 'content-type': 'application/json' })
    for (const name of Object.keys(dropped)) t.notOk(name in received[0]!.headers, `${kind}: ${name}`)
  }
})

t.test('A field that is there twice may be read in another way: such a body counts with the most', async (t) => {
  const text = { role: 'user', content: 'say "hi:"\\' }
  const plain = JSON.stringify({ model: 'claude-haiku-4-5', max_tokens: 1, messages: [text, text], metadata: { a: '\\":"', 'b"': [] } })
  t.match(readAsked(Buffer.from(plain)), { model: 'claude-haiku-4-5', outputTokens: 1, isWhole: true })
  t.match(readAsked(Buffer.from(JSON.stringify(JSON.parse(plain), null, 2))), { isWhole: true })
  for (const body of [
    plain.replace('{', '{"max_tokens":100000,'),
    plain.replace('{', '{"max\\u005ftokens" : 100000,'),
    plain.replace('{', '{"model":"claude-opus-4",'),
    plain.replace('"role"', '"role":"user","role"'),
    plain.replace('"say', '[{"type":"document","type":"text","text":"a"}],"content":"say')
  ]) t.match(readAsked(Buffer.from(body)), { model: '', fast: true, isWhole: false, outputTokens: Number }, body)
})

t.test('What is used beside an answer is charged, too: by a compaction, and by a model that gives advice', async (t) => {
  const { open, post, gateway } = await startGateway(t, {
    answer: (_request, response) => {
      startSse(response, { input: 100_000 })
      const usage = {
        output_tokens: 1,
        iterations: [
          { type: 'compaction', input_tokens: 500_000, output_tokens: 0 },
          { type: 'message', input_tokens: 100_000, output_tokens: 1 },
          { type: 'advisor_message', model: 'claude-fable-5', input_tokens: 100_000, output_tokens: 10_000 },
          null
        ]
      }
      response.end(event({ type: 'message_delta', delta: {}, usage }))
    }
  })
  const { token, runId } = await open()
  await (await post(token)).text()
  const { costUsd, usage } = gateway.close(runId)!
  t.equal(costUsd.toFixed(3), (0.4 + 2 + 1 + 0.5).toFixed(3))
  t.match(usage, { input_tokens: 700_000, output_tokens: 10_001 })
})
