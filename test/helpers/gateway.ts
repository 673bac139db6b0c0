import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import Fastify from 'fastify'
import type { Test } from 'tap'
import context from '../../plugins/context.js'
import gatewayRoutes from '../../routes/gateway.js'
import sensible from '@fastify/sensible'
import { Gateway } from '../../services/gateway/gateway.js'
import { Prices } from '../../services/gateway/prices.js'
import type { Provider } from '../../services/gateway/provider.js'
import { SpendingLedger, type CounterStore } from '../../services/gateway/spending.js'
import { RunTokens, type RunGrant } from '../../services/gateway/token.js'
import type { RunState } from '../../services/modal/run-tags.js'

export const realKey = 'sk-ant-the-real-key'

export interface Received { method: string, url: string, headers: IncomingMessage['headers'], rawHeaders: string[], body: string }

interface GatewayOptions {
  answer?: (request: Received, response: ServerResponse) => unknown
  provider?: (url: string) => Provider
  runState?: (grant: RunGrant) => Promise<RunState>
  store?: CounterStore
}

/** How a model's answer begins, as the API streams it. */
export function startSse (response: ServerResponse, { model = 'claude-opus-5-5', input = 1_000_000 } = {}) {
  response.writeHead(200, { 'content-type': 'text/event-stream; charset=utf-8' })
  const usage = { input_tokens: input, output_tokens: 1 }
  response.write(event({ type: 'message_start', message: { model, usage } }))
}

/** A model's whole answer. */
export function sse (
  response: ServerResponse, { output = 100_000, ...start }: Parameters<typeof startSse>[1] & { output?: number } = {}
) {
  startSse(response, start)
  response.write(event({ type: 'message_delta', delta: {}, usage: { output_tokens: output } }))
  response.end(event({ type: 'message_stop' }))
}

export const event = (data: { type: string, [field: string]: unknown }) => `event: ${data.type}\ndata: ${JSON.stringify(data)}\n\n`

/** The gateway on a port of its own, before a model that answers as the test says. */
export async function startGateway (t: Test, options: GatewayOptions = {}) {
  const received: Received[] = []
  const upstream = createServer((request, response) => {
    const chunks: Buffer[] = []
    request.on('data', (chunk: Buffer) => chunks.push(chunk)).on('end', () => {
      const { method = '', url = '', headers, rawHeaders } = request
      const seen = { method, url, headers, rawHeaders, body: Buffer.concat(chunks).toString() }
      received.push(seen)
      const answer = options.answer ?? ((_seen, response) => { sse(response) })
      answer(seen, response)
    })
  })
  await new Promise<void>((resolve) => { upstream.listen(0, '127.0.0.1', resolve) })
  const upstreamUrl = `http://127.0.0.1:${(upstream.address() as AddressInfo).port}`
  const logged: Array<Record<string, unknown>> = []
  const keep = (fields: object, message: string) => { logged.push({ ...fields, message }) }
  const log = { info: keep, warn: keep, error: keep }
  const ledger = new SpendingLedger({ store: options.store, replica: 'replica_a', log })
  const tokens = new RunTokens(['secret'])
  const gateway = new Gateway({
    provider: options.provider?.(upstreamUrl) ?? { kind: 'anthropic', baseUrl: upstreamUrl, apiKey: realKey },
    tokens,
    prices: new Prices({}, (model) => { logged.push({ message: 'unknown model', model }) }),
    ledger,
    runState: options.runState ?? (async () => 'unknown'),
    log
  })
  const app = Fastify({ forceCloseConnections: true, http: { requireHostHeader: false } })
  await app.register(sensible)
  await app.register(context)
  await app.register(gatewayRoutes, { prefix: '/model', gateway, logLevel: 'silent' })
  const url = await app.listen({ host: '127.0.0.1', port: 0 })
  t.teardown(async () => {
    await app.close()
    upstream.closeAllConnections()
    upstream.close()
  })

  let count = 0
  /** A run that has begun, and its token. */
  async function open (more: Partial<RunGrant> = {}) {
    const now = Math.floor(Date.now() / 1000)
    const runId = `run_${++count}`
    const grant = { accountId: 'a', sandboxId: 'sb-1', runId, issuedAt: now, expiresAt: now + 600, ...more }
    return { grant, runId: grant.runId, token: await gateway.open(grant) }
  }

  async function post (token: string, body: object = {}, init: RequestInit & { path?: string } = {}) {
    return await fetch(`${url}/model${init.path ?? '/v1/messages?beta=true'}`, {
      method: 'POST',
      body: JSON.stringify({ model: 'claude-opus-5-5', max_tokens: 1000, ...body }),
      ...init,
      headers: { 'content-type': 'application/json', 'x-api-key': token, ...init.headers }
    })
  }

  return { app, url, gateway, tokens, ledger, received, logged, upstream, upstreamUrl, open, post }
}
