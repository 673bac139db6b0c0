import { setImmediate, setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import type { CounterStore } from '../../services/gateway/spending.js'
import { realKey, startGateway } from '../helpers/gateway.js'

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
    const { open, post, received } = await startGateway(t, { provider: (baseUrl) => ({ kind, baseUrl, region: 'us-east-1', apiKey: realKey }) })
    const path = kind === 'anthropic' ? messages : '/model/us.anthropic.claude-opus-5-5/invoke-with-response-stream'
    await (await post((await open()).token, {}, { path, headers: { ...kept, ...dropped } })).text()
    t.match(received[0]!.headers, { ...kept, 'content-type': 'application/json' })
    for (const name of Object.keys(dropped)) t.notOk(name in received[0]!.headers, `${kind}: ${name}`)
  }
})
