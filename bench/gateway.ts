// tsx bench/gateway.ts [requests]: a small request to a model on loopback, directly and through the gateway, in turns
// over kept connections: medians until the first byte and the last, and what the gateway adds.
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import sensible from '@fastify/sensible'
import Fastify from 'fastify'
import { Agent, request } from 'undici'
import context from '../plugins/context.js'
import gatewayRoutes from '../routes/gateway.js'
import { Gateway } from '../services/gateway/gateway.js'
import { Prices } from '../services/gateway/prices.js'
import { SpendingLedger } from '../services/gateway/spending.js'
import { RunTokens } from '../services/gateway/token.js'

const rounds = Number(process.argv[2] ?? 2000)
const warmUp = 300
const body = JSON.stringify({ model: 'claude-opus-5-5', max_tokens: 1000, messages: [{ role: 'user', content: 'x'.repeat(2000) }] })

const model = createServer((request, response) => {
  request.resume().on('end', () => {
    response.writeHead(200, { 'content-type': 'text/event-stream' })
    response.write('event: message_start\ndata: {"type":"message_start","message":{"model":"claude-opus-5-5","usage":{"input_tokens":9,"output_tokens":1}}}\n\n')
    for (let i = 0; i < 20; i++) response.write(`event: content_block_delta\ndata: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"word ${i} "}}\n\n`)
    response.end('event: message_delta\ndata: {"type":"message_delta","delta":{},"usage":{"output_tokens":20}}\n\nevent: message_stop\ndata: {"type":"message_stop"}\n\n')
  })
})
await new Promise<void>((resolve) => { model.listen(0, '127.0.0.1', resolve) })
const direct = `http://127.0.0.1:${(model.address() as AddressInfo).port}`

const log = { info () {}, warn () {}, error () {} }
const gateway = new Gateway({
  provider: { kind: 'anthropic', baseUrl: direct, apiKey: 'key' },
  tokens: new RunTokens(['secret']),
  prices: new Prices({}, () => {}),
  ledger: new SpendingLedger({ store: undefined, replica: 'replica_bench', log }),
  runState: async () => 'unknown',
  log
})
const app = Fastify({ forceCloseConnections: true })
await app.register(sensible)
await app.register(context)
await app.register(gatewayRoutes, { prefix: '/model', gateway, logLevel: 'error' })
const through = `${await app.listen({ host: '127.0.0.1', port: 0 })}/model`

const now = Math.floor(Date.now() / 1000)
const grant = { accountId: 'a', sandboxId: 'sb-1', issuedAt: now, expiresAt: now + 3600 }
const plain = await gateway.open({ ...grant, runId: 'run_plain' })
const budgeted = await gateway.open({ ...grant, runId: 'run_budget', maxBudgetUsd: 1000, monthlyBudgetUsd: 1000 })
const ways = { direct: [direct, 'key'], gateway: [through, plain], 'gateway with budgets': [through, budgeted] } as const
const empty = () => ({ first: [] as number[], whole: [] as number[] })
const figures = Object.fromEntries(Object.keys(ways).map((name) => [name, empty()]))
const dispatcher = new Agent({ connections: 1 })

for (let round = 0; round < rounds + warmUp; round++) {
  for (const [name, [url, key]] of Object.entries(ways)) {
    const started = performance.now()
    const answer = await request(`${url}/v1/messages?beta=true`, {
      dispatcher, method: 'POST', body, headers: { 'content-type': 'application/json', 'x-api-key': key }
    })
    let first = 0
    answer.body.once('data', () => { first = performance.now() - started })
    await once(answer.body, 'end')
    if (answer.statusCode !== 200) throw new Error(`${name}: ${answer.statusCode}`)
    if (round < warmUp) continue
    figures[name]!.first.push(first)
    figures[name]!.whole.push(performance.now() - started)
  }
}
const median = (values: number[]) => values.toSorted((one, other) => one - other)[Math.floor(values.length / 2)]!
const base = { first: median(figures['direct']!.first), whole: median(figures['direct']!.whole) }
console.log(`small requests, ${rounds} each way, medians in ms`)
for (const [name, { first, whole }] of Object.entries(figures)) {
  const added = name === 'direct' ? '' : `; added ${(median(first) - base.first).toFixed(2)} and ${(median(whole) - base.whole).toFixed(2)}`
  console.log(`${name}: first byte ${median(first).toFixed(2)}, whole ${median(whole).toFixed(2)}${added}`)
}
await dispatcher.close()
await app.close()
model.close()
