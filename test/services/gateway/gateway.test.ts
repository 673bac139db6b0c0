import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { event, realKey, sse, startGateway, startSse } from '../../helpers/gateway.js'

const costOfAnswer = 4 + 2

t.test('A request passes with the real key, the query, the body as it is, and nothing of ours', async (t) => {
  const { open, post, received, logged } = await startGateway(t)
  const { token, runId } = await open()
  const response = await post(token, {}, {
    headers: {
      'anthropic-beta': 'b', cookie: 'modal_sandbox_session=x', authorization: 'Bearer y', 'x-forwarded-for': '10.0.0.1', te: 'trailers'
    }
  })
  t.equal(response.status, 200)
  t.match(await response.text(), /message_start[^]*message_stop/)
  const [{ method, url, headers, body }] = received as [typeof received[0]]
  t.match({ method, url, body }, { method: 'POST', url: '/v1/messages?beta=true', body: '{"model":"claude-opus-5-5","max_tokens":1000}' })
  t.match(headers, { 'x-api-key': realKey, 'anthropic-beta': 'b', 'accept-encoding': 'identity', 'content-length': String(body.length) })
  for (const name of ['cookie', 'authorization', 'x-forwarded-for', 'te', 'transfer-encoding']) t.notOk(name in headers, name)
  const logs = JSON.stringify(logged)
  t.match(logs, new RegExp(`"runId":"${runId}".*"costUsd":${costOfAnswer}`))
  t.notMatch(logs, new RegExp(`${token}|${realKey}`))
})

t.test('A base URL with a path, an answer that is not streamed, and a free call', async (t) => {
  const { url, open, post, received, gateway } = await startGateway(t, {
    provider: (url) => ({ kind: 'anthropic', baseUrl: `${url}/proxy/`, apiKey: realKey }),
    answer: ({ url }, response) => {
      response.writeHead(200, { 'content-type': 'application/json' })
      response.end(JSON.stringify(url.includes('count')
        ? { input_tokens: 5 }
        : {
            model: 'claude-haiku-4-5', usage: { input_tokens: 1e6, output_tokens: 1e5, cache_read_input_tokens: 1e6 }
          }))
    }
  })
  const { token, runId } = await open()
  await (await post(token)).text()
  await (await post(token, {}, { path: '/v1/messages/count_tokens' })).text()
  const hello = await fetch(`${url}/model/api/hello`, { method: 'HEAD', headers: { 'x-api-key': token } })
  t.equal(hello.status, 200)
  t.strictSame(received.map(({ url }) => url), [
    '/proxy/v1/messages?beta=true', '/proxy/v1/messages/count_tokens', '/proxy/api/hello'
  ])
  t.match(gateway.close(runId), { costUsd: 1 + 0.5 + 0.1, usage: { input_tokens: 1e6, cache_read_input_tokens: 1e6 } })
})

t.test('Bedrock gets its own key, and its frames are counted', async (t) => {
  const frame = (data: object) => {
    const payload = Buffer.from(JSON.stringify({ bytes: Buffer.from(JSON.stringify(data)).toString('base64') }))
    const bytes = Buffer.alloc(16 + payload.length)
    bytes.writeUInt32BE(bytes.length, 0)
    payload.copy(bytes, 12)
    return bytes
  }
  const model = 'us.anthropic.claude-opus-5-5'
  const { url, open, received, gateway } = await startGateway(t, {
    provider: (baseUrl) => ({ kind: 'bedrock', baseUrl, region: 'us-east-1', apiKey: realKey }),
    answer: (_request, response) => {
      response.writeHead(200, { 'content-type': 'application/vnd.amazon.eventstream' })
      const bytes = Buffer.concat([
        frame({ type: 'message_start', message: { model: 'claude-opus-5-5', usage: { input_tokens: 1e6, output_tokens: 1 } } }),
        frame({ type: 'message_delta', usage: { output_tokens: 1e5 } })
      ])
      // In pieces that cut through a frame.
      response.write(bytes.subarray(0, 50))
      setTimeout(() => { response.end(bytes.subarray(50)) }, 20)
    }
  })
  const { token, runId } = await open()
  const headers = { authorization: `Bearer ${token}`, 'content-type': 'application/json' }
  await (await fetch(`${url}/model/model/${model}/invoke-with-response-stream`, { method: 'POST', headers, body: '{}' })).arrayBuffer()
  await (await fetch(`${url}/model/inference-profiles?type=SYSTEM_DEFINED`, { headers })).arrayBuffer()
  t.match(received, [
    { url: `/model/${model}/invoke-with-response-stream`, headers: { authorization: `Bearer ${realKey}` } },
    { method: 'GET', url: '/inference-profiles?type=SYSTEM_DEFINED' }
  ])
  t.equal(gateway.close(runId)!.costUsd, costOfAnswer)
})

t.test('Errors of the provider pass with their headers; what repeats the key loses it', async (t) => {
  const { open, post } = await startGateway(t, {
    answer: ({ headers }, response) => {
      response.writeHead(429, { 'retry-after': '7', 'x-should-retry': 'true', 'content-type': 'application/json', 'x-echo': String(headers['x-api-key']) })
      response.end(JSON.stringify({ type: 'error', error: { type: 'rate_limit_error', message: `slow down ${headers['x-api-key']}` } }))
    }
  })
  const { token } = await open()
  const response = await post(token)
  t.match([response.status, response.headers.get('retry-after'), response.headers.get('x-should-retry')], [429, '7', 'true'])
  t.notMatch(JSON.stringify([...response.headers]), new RegExp(realKey))
  t.strictSame(await response.json(), { type: 'error', error: { type: 'rate_limit_error', message: 'slow down [redacted]' } })
})

t.test('A stream that is cut is cut for the client, too, and charged by what was seen', async (t) => {
  const { open, post, gateway, upstream } = await startGateway(t, {
    answer: (_request, response) => {
      startSse(response)
      setTimeout(() => { response.destroy() }, 50)
    }
  })
  const { token, runId } = await open()
  const response = await post(token)
  await t.rejects(response.text())
  t.ok(gateway.close(runId)!.costUsd >= 4)
  upstream.close()
  upstream.closeAllConnections()
  const other = await open()
  const refused = await post(other.token)
  t.match([refused.status, await refused.json()], [502, { type: 'error', error: { type: 'api_error' } }])
})

t.test('A client that leaves ends the request to the provider, before and within the answer', async (t) => {
  const closed: string[] = []
  const { open, post, gateway } = await startGateway(t, {
    answer: ({ body }, response) => {
      response.on('close', () => { closed.push(JSON.parse(body).name) })
      if (JSON.parse(body).name === 'within') {
        response.writeHead(200, { 'content-type': 'text/event-stream' })
        response.write(event({ type: 'ping' }))
      }
    }
  })
  const { token, runId } = await open()
  for (const name of ['before', 'within']) {
    const leave = new AbortController()
    const answer = post(token, { name }, { signal: leave.signal })
    if (name === 'within') await answer
    else await sleep(100)
    leave.abort()
    await answer.then(async (response) => await response.text()).catch(() => {})
    while (!closed.includes(name)) await sleep(10)
  }
  t.ok(gateway.close(runId)!.costUsd > 0, 'an estimate')
})

t.test('A slow reader holds up the provider, not the memory', async (t) => {
  let sent = 0
  const { open, url } = await startGateway(t, {
    answer: async (_request, response) => {
      response.writeHead(200, { 'content-type': 'text/event-stream' })
      const chunk = Buffer.alloc(1024 * 1024, 'x')
      for (; sent < 200 && !response.destroyed; sent++) if (!response.write(chunk)) await Promise.race([once(response, 'drain'), once(response, 'close')])
      response.end()
    }
  })
  const { token } = await open()
  const response = await fetch(`${url}/model/v1/messages`, { method: 'POST', headers: { 'x-api-key': token }, body: '{}' })
  const stands = async () => {
    const before = sent
    await sleep(300)
    return before === sent && sent > 0
  }
  while (!await stands());
  t.ok(sent < 60, `${sent} MB were taken`)
  await response.body!.cancel()
})

t.test('Hundreds of requests are under way at once', async (t) => {
  const waiting: Array<() => void> = []
  const { open, post } = await startGateway(t, {
    answer: (_request, response) => { waiting.push(() => { sse(response) }) }
  })
  const runs = await Promise.all(Array.from({ length: 10 }, async () => await open()))
  const answers = runs.flatMap(({ token }) => Array.from({ length: 30 }, async () => await (await post(token)).text()))
  while (waiting.length < 300) await sleep(10)
  for (const answer of waiting) answer()
  t.equal((await Promise.all(answers)).filter((text) => text.includes('message_stop')).length, 300)
})

t.test('Certificates of the provider are checked', async (t) => {
  const tls = createServer()
  await new Promise<void>((resolve) => { tls.listen(0, '127.0.0.1', resolve) })
  t.teardown(() => tls.close())
  const { open, post } = await startGateway(t, {
    provider: () => ({ kind: 'anthropic', baseUrl: `https://127.0.0.1:${(tls.address() as AddressInfo).port}`, apiKey: realKey })
  })
  const response = await post((await open()).token)
  t.equal(response.status, 502)
})
