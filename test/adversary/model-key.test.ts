import { once } from 'node:events'
import { connect } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import type { Counter, CounterStore } from '../../services/gateway/spending.js'
import { RunTokens } from '../../services/gateway/token.js'
import type { RunState } from '../../services/modal/run-tags.js'
import { event, realKey, sse, startGateway, startSse } from '../helpers/gateway.js'

const anHour = 3600
const costOfAnswer = 6

t.test('A token is good for one run, until its end, and for nothing else (9.4)', async (t) => {
  const { url, open, post, gateway, tokens, received, logged } = await startGateway(t)
  const { token, grant, runId } = await open()
  const refused = async (token: string, init: Parameters<typeof post>[2] = {}) => {
    const response = await post(token, {}, init)
    const body = await response.json()
    t.match(body, { type: 'error', error: { type: String, message: String } })
    t.equal(response.headers.get('x-should-retry'), String(response.status >= 500), 'the CLI does not repeat it')
    return [response.status, (body as any).error.type]
  }
  const unknown = [401, 'authentication_error']

  await t.test('no token, a made-up one, one of another key, a changed one', async (t) => {
    const [header, payload, signature] = token.split('.')
    const forged = Buffer.from(JSON.stringify({ ...JSON.parse(String(Buffer.from(payload!, 'base64url'))), sub: 'run_2' })).toString('base64url')
    const none = Buffer.from('{"alg":"none"}').toString('base64url')
    for (const bad of ['', 'x', realKey, 'run-token-a.b.c', `${header}.${forged}.${signature}`, `run-token-${none}.${payload}.`,
      `${token}, ${token}`, await new RunTokens(['other secret']).sign(grant)]) t.strictSame(await refused(bad), unknown, bad)
  })

  await t.test('its time is over', async (t) => {
    const late = await open({ issuedAt: grant.issuedAt - 2 * anHour, expiresAt: grant.issuedAt - anHour })
    t.strictSame(await refused(late.token), unknown)
  })

  await t.test('another path or method', async (t) => {
    const none = [404, 'not_found_error']
    for (const path of ['/v1/complete', '/v1/files', '/v1/messages/batches', '/v1/organizations/api_keys', '/', '/v1/messages/', '/V1/messages',
      '/v1/%6dessages/..%2f..%2fv1/files', '//v1/messages', '/v1/models', '/model/x/invoke']) {
      t.strictSame(await refused(token, { path }), none, path)
    }
    t.strictSame(await refused(token, { method: 'PUT' }), none)
    const read = await fetch(`${url}/model/v1/messages`, { headers: { 'x-api-key': token } })
    t.equal(read.status, 404)
  })

  await t.test('another replica asks Modal, and nobody else', async (t) => {
    let answer: RunState | Error = 'running'
    const other = await startGateway(t, {
      runState: async () => { if (answer instanceof Error) throw answer; return answer }
    })
    const earlier = { ...grant, issuedAt: grant.issuedAt - 60 }
    t.equal((await other.post(await tokens.sign({ ...earlier, runId: 'run_b' }))).status, 200)
    answer = 'unknown'
    t.equal((await other.post(await tokens.sign({ ...earlier, runId: 'run_c' }))).status, 401)
    t.equal((await other.post(await tokens.sign({ ...grant, runId: 'run_d' }))).status, 529, 'its tag may come yet')
    answer = 'ended'
    t.equal((await other.post(await tokens.sign({ ...grant, runId: 'run_f' }))).status, 401, 'however young')
    answer = new Error('Modal is down')
    t.equal((await other.post(await tokens.sign({ ...earlier, runId: 'run_e' }))).status, 529)
  })

  await t.test('its run has ended', async (t) => {
    t.equal((await post(token)).status, 200)
    gateway.close(runId)
    t.strictSame(await refused(token), unknown)
    t.equal(received.length, 1, 'nothing else has reached the provider')
    t.match(logged.at(-1), { runId, sandboxId: 'sb-1', type: 'authentication_error', message: 'model request refused' })
  })
  t.notMatch(JSON.stringify(logged), new RegExp(`${token}|${realKey}`))
})

t.test('An answer under way is cut when its run ends', async (t) => {
  const { open, post, gateway } = await startGateway(t, {
    answer: (_request, response) => {
      response.writeHead(200, { 'content-type': 'text/event-stream' })
      response.write(event({ type: 'ping' }))
    }
  })
  const { token, runId } = await open()
  const response = await post(token)
  gateway.close(runId)
  await t.rejects(response.text())
})

t.test('Requests sent at once exceed a budget by one answer at most', async (t) => {
  const { open, post, gateway, received } = await startGateway(t, {
    answer: async (_request, response) => { await sleep(20); sse(response) }
  })
  const { token, runId } = await open({ maxBudgetUsd: 15 })
  const answers = await Promise.all(Array.from({ length: 40 }, async () => {
    const response = await post(token, { max_tokens: 500_000 })
    return { status: response.status, text: await response.text() }
  }))
  t.equal(received.length, 3)
  t.equal(answers.filter(({ status }) => status === 200).length, 3)
  t.match(answers.find(({ status }) => status === 400)?.text, /"billing_error","message":"The budget of this run is spent: maxBudgetUsd is \$15\./)
  t.match(gateway.close(runId), { costUsd: 3 * costOfAnswer, exceededBudget: 'maxBudgetUsd' })
})

t.test('The budget of an account holds for all its runs, over replicas and restarts', async (t) => {
  const stored: Counter[] = []
  const store: CounterStore = {
    write: async (counter) => { stored.push(structuredClone(counter)) },
    readOthers: async (_account, month) => [{ version: 1, accountId: 'a', month, replica: 'replica_b', usd: 5, runs: { run_x: { usd: 5, at: 0 } } }]
  }
  const { open, post, received, ledger } = await startGateway(t, { store })
  const first = await open({ monthlyBudgetUsd: 10 })
  const second = await open({ monthlyBudgetUsd: 10 })
  const third = await open({ accountId: 'b', maxBudgetUsd: 5, runId: 'run_x' })
  t.equal((await post(first.token)).status, 200)
  const refused = await post(second.token)
  t.match([refused.status, await refused.text()], [400, /The budget of your account for this month is spent: monthlyBudgetUsd is \$10\./])
  t.equal((await post(third.token)).status, 400, 'what other replicas have spent for the same run counts')
  t.equal(received.length, 1)
  await ledger.close()
  t.match(stored, [{ accountId: 'a', usd: costOfAnswer, replica: 'replica_a' }])
})

t.test('What was spent cannot be read: requests with a budget wait', async (t) => {
  const { open, post } = await startGateway(t, {
    store: { write: async () => {}, readOthers: async () => { throw new Error('S3 is down') } }
  })
  t.equal((await post((await open({ monthlyBudgetUsd: 10 })).token)).status, 529)
  t.equal((await post((await open()).token)).status, 200)
})

t.test('Leaving before the end of an answer does not make it free', async (t) => {
  const { open, post, gateway } = await startGateway(t, {
    answer: (_request, response) => {
      startSse(response)
      for (let i = 0; i < 100; i++) {
        response.write(event({ type: 'content_block_delta', index: 0, delta: { type: 'text_delta', text: 'x'.repeat(3000) } }))
      }
    }
  })
  const { token, runId } = await open()
  const leave = new AbortController()
  const response = await post(token, {}, { signal: leave.signal })
  const reader = response.body!.getReader()
  for (let bytes = 0; bytes < 300_000;) bytes += (await reader.read()).value!.length
  leave.abort()
  await sleep(100)
  const { costUsd } = gateway.close(runId)!
  t.ok(costUsd > 5.5 && costUsd < 7, String(costUsd))
})

t.test('What the API fetches itself, or may be more than its bytes say, counts with a whole context', async (t) => {
  const user = (content: unknown) => ({ messages: [{ role: 'user', content }] })
  const from = (type: string, source: object) => user([{ type, source }])
  const inResult = (source: object) => user([{ type: 'tool_result', tool_use_id: 'a', content: [{ type: 'document', source }] }])
  const url = { type: 'url', url: 'https://example.com/a.pdf' }
  for (const [name, asked] of Object.entries({
    'a document by URL': from('document', url),
    'an image by URL': from('image', url),
    'an uploaded file': from('document', { type: 'file', file_id: 'file_1' }),
    'a short PDF of many pages': from('document', { type: 'base64', media_type: 'application/pdf', data: 'JVBERi0=' }),
    'one in the result of a tool': inResult(url),
    'one in a document': from('document', { type: 'content', content: [{ type: 'document', source: url }] }),
    'one in the system prompt': { system: [{ type: 'document', source: url }] },
    'an unknown block': user([{ type: 'container_upload', file_id: 'file_1' }]),
    'a web search': { tools: [{ type: 'web_search_20250305', name: 'web_search' }] },
    'an unknown tool': { tools: [{ type: 'mcp_toolset', mcp_server_name: 'a' }] },
    'a remote MCP server': { mcp_servers: [{ type: 'url', url: 'https://example.com', name: 'a' }] },
    'a container': { container: 'container_1' },
    'an unknown field': { corpus: 'corpus_1' },
    'a compaction': { context_management: { edits: [{ type: 'compact_20260112' }] } },
    'results of tools in each other': user([Array.from({ length: 1000 }).reduce<object>((content) => ({ type: 'tool_result', content: [content] }), {})])
  })) {
    await t.test(name, async (t) => {
      const { open, post, gateway, received } = await startGateway(t, {
        answer: async (_request, response) => { await sleep(10); sse(response, { output: 0 }) }
      })
      const { token, runId } = await open({ maxBudgetUsd: 5 })
      const answers = await Promise.all(Array.from({ length: 20 }, async () => {
        const response = await post(token, { ...user('hello'), max_tokens: 1, ...asked })
        await response.text()
        return response.status
      }))
      t.equal(received.length, 2)
      t.equal(answers.filter((status) => status === 400).length, 18)
      const { costUsd, exceededBudget } = gateway.close(runId)!
      t.match([Math.round(costUsd), exceededBudget], [2 * 4, 'maxBudgetUsd'])
    })
  }
})

t.test('A body that is no JSON here may be one for the API: it counts with the most', async (t) => {
  const { open, post, received } = await startGateway(t, {
    answer: async (_request, response) => { await sleep(10); sse(response) }
  })
  const { token } = await open({ maxBudgetUsd: 1 })
  const body = Buffer.from(JSON.stringify({ model: 'claude-haiku-4-5', max_tokens: 1 }), 'utf16le')
  await Promise.all(Array.from({ length: 20 }, async () => await (await post(token, {}, { body })).text()))
  t.equal(received.length, 1)
})

t.test('What the body bounds is not held up: text, tools and images are sent at once', async (t) => {
  const waiting: Array<() => void> = []
  const { open, post } = await startGateway(t, {
    answer: (_request, response) => { waiting.push(() => { sse(response, { input: 1, output: 1 }) }) }
  })
  const { token } = await open({ maxBudgetUsd: 1 })
  const image = { type: 'image', source: { type: 'base64', media_type: 'image/png', data: 'A'.repeat(400_000) } }
  const answers = Array.from({ length: 5 }, async () => await (await post(token, {
    max_tokens: 100,
    system: [{ type: 'text', text: 'x', cache_control: { type: 'ephemeral' } }],
    tools: [{ name: 'Read', input_schema: { type: 'object' } }, { type: 'custom', name: 'A' }, { type: 'bash_20250124', name: 'bash' }],
    messages: [
      { role: 'user', content: 'hello' },
      { role: 'assistant', content: [{ type: 'thinking', thinking: 'x', signature: 'y' }, { type: 'redacted_thinking', data: 'z' }, { type: 'tool_use', id: 'a', name: 'Read', input: {} }] },
      { role: 'user', content: [{ type: 'tool_result', tool_use_id: 'a', content: [{ type: 'text', text: 'x' }, image] }, { type: 'document', source: { type: 'text', media_type: 'text/plain', data: 'x' } }] }
    ],
    thinking: { type: 'adaptive' },
    metadata: { user_id: 'u' },
    context_management: { edits: [{ type: 'clear_thinking_20251015', keep: 'all' }] },
    output_config: { effort: 'high' },
    stream: true
  })).text())
  while (waiting.length < 5) await sleep(10)
  for (const answer of waiting) answer()
  await Promise.all(answers)
})

t.test('An answer that is given up while Claude thinks unseen is charged by its time, and by no more than was asked for', async (t) => {
  const { open, post, gateway } = await startGateway(t, {
    answer: async (_request, response) => {
      startSse(response, { input: 10 })
      response.write(event({ type: 'content_block_start', index: 0, content_block: { type: 'thinking', thinking: '', signature: '' } }))
      await sleep(1500)
      response.write(event({ type: 'content_block_delta', index: 1, delta: { type: 'text_delta', text: 'x' } }))
    }
  })
  const outputOf = async (asked: object, leaveAt: RegExp) => {
    const { token, runId } = await open()
    const leave = new AbortController()
    const response = await post(token, asked, { signal: leave.signal })
    const reader = response.body!.getReader()
    for (let text = ''; !leaveAt.test(text);) text += Buffer.from((await reader.read()).value!)
    if (leaveAt.source === 'thinking') await sleep(1500)
    leave.abort()
    await sleep(100)
    return Number(gateway.close(runId)!.usage['output_tokens'])
  }
  const [thinking, text, few] = await Promise.all([
    outputOf({ max_tokens: 32_000 }, /thinking/), outputOf({ max_tokens: 32_000 }, /text_delta/), outputOf({ max_tokens: 20 }, /text_delta/)
  ])
  for (const tokens of [thinking, text]) t.ok(tokens >= 200 && tokens < 2000, String(tokens))
  t.equal(few, 20)
})

t.test('Text that comes in pieces of a few letters is charged, too', async (t) => {
  const { open, post, gateway } = await startGateway(t, {
    answer: (_request, response) => {
      startSse(response, { input: 10 })
      for (let i = 0; i < 500; i++) response.write(event({ type: 'content_block_delta', index: 0, delta: { type: 'text_delta', text: 'x' } }))
      setTimeout(() => { response.destroy() }, 50)
    }
  })
  const { token, runId } = await open()
  await t.rejects((await post(token)).text())
  t.ok(Number(gateway.close(runId)!.usage['output_tokens']) >= 500)
})

t.test('Searches of an answer that was given up are charged', async (t) => {
  const { open, post, gateway } = await startGateway(t, {
    answer: (_request, response) => {
      startSse(response, { input: 1000 })
      for (let index = 0; index < 3; index++) {
        response.write(event({ type: 'content_block_start', index, content_block: { type: 'server_tool_use', id: 'a', name: 'web_search', input: {} } }))
      }
      setTimeout(() => { response.destroy() }, 50)
    }
  })
  const { token, runId } = await open()
  await t.rejects((await post(token, { tools: [{ type: 'web_search_20250305', name: 'web_search' }] })).text())
  t.match(gateway.close(runId)!.usage, { input_tokens: 4000, server_tool_use: { web_search_requests: 3 } })
})

t.test('An answer that was given up before it began is charged with what the API had to fetch', async (t) => {
  const { open, post, gateway, received } = await startGateway(t, { answer: () => {} })
  const { token, runId } = await open()
  const leave = new AbortController()
  const source = { type: 'url', url: 'https://example.com/a.pdf' }
  const asked = { messages: [{ role: 'user', content: [{ type: 'document', source }] }] }
  const answer = post(token, asked, { signal: leave.signal })
  answer.catch(() => {})
  while (received.length === 0) await sleep(10)
  leave.abort()
  await t.rejects(answer)
  await sleep(100)
  t.ok(gateway.close(runId)!.costUsd >= 4)
})

t.test('Requests that are too large, or do not say how large they are, are refused before they are read', async (t) => {
  const { url, open, received } = await startGateway(t)
  const { token } = await open()
  const { port } = new URL(url)
  const send = async (head: string, body = '') => {
    const socket = connect(Number(port), '127.0.0.1')
    t.teardown(() => socket.destroy())
    socket.on('error', () => {})
    socket.write(`${head}\r\n\r\n${body}`)
    const [first] = await once(socket, 'data') as [Buffer]
    return String(first)
  }
  const post = 'POST /model/v1/messages HTTP/1.1\r\nhost: x\r\ncontent-type: application/json'
  const key = `x-api-key: ${token}`
  t.match(await send(`${post}\r\n${key}\r\ncontent-length: ${33 * 1024 * 1024}`), /^HTTP\/1.1 413 .*request_too_large/s)
  t.match(await send(`${post}\r\n${key}\r\ntransfer-encoding: chunked`, '0\r\n\r\n'), /^HTTP\/1.1 400 .*invalid_request_error/s)
  t.match(await send(`${post}\r\n${key}\r\ntransfer-encoding: chunked\r\ncontent-length: 2`, '0\r\n\r\n'), /^HTTP\/1.1 400 /)
  t.match(await send(`${post}\r\n${key}\r\ncontent-length: 2\r\ncontent-length: 3`, '{}'), /^HTTP\/1.1 400 /)
  t.match(await send(`${post}\r\n${key}\r\nx-api-key: other\r\ncontent-length: 2`, '{}'), /^HTTP\/1.1 401 /)
  for (const path of ['/model/../model/v1/files', '/model/v1/messages/../files', '/model/v1%2Fmessages', '/model/%2e%2e/v1/messages', '/model/v1/messages%00']) {
    t.match(await send(`POST ${path} HTTP/1.1\r\nhost: x\r\n${key}\r\ncontent-length: 2`, '{}'), /^HTTP\/1.1 (400|404) /, path)
  }
  t.equal(received.length, 0)
  t.match(await send(`POST http://evil.example/model/v1/messages HTTP/1.1\r\nhost: x\r\n${key}\r\ncontent-length: 2`, '{}'), /^HTTP\/1.1 200 /)
  t.match(received.pop(), { url: '/v1/messages' }, 'the address of a proxy is not the provider\'s')
  const connection = `${post}\r\n${key}\r\nconnection: x-api-key, anthropic-version\r\nanthropic-version: 1\r\ncontent-length: 2`
  t.match(await send(connection, '{}'), /^HTTP\/1.1 200 /)
  t.equal(received[0]!.headers['x-api-key'], realKey)
  t.equal(received[0]!.rawHeaders.filter((name) => name.toLowerCase() === 'x-api-key').length, 1)
})

t.test('One account cannot fill the memory, nor send without end', async (t) => {
  const { open, url } = await startGateway(t)
  const { token } = await open()
  const other = await open({ accountId: 'b' })
  const { port } = new URL(url)
  const hold = (token: string, bytes: number) => {
    const socket = connect(Number(port), '127.0.0.1')
    t.teardown(() => socket.destroy())
    socket.on('error', () => {})
    socket.write(`POST /model/v1/messages HTTP/1.1\r\nhost: x\r\nx-api-key: ${token}\r\ncontent-length: ${bytes}\r\n\r\n`)
    return socket
  }
  const megabyte = 1024 * 1024
  for (let i = 0; i < 3; i++) hold(token, 31 * megabyte)
  await sleep(100)
  const [refused] = await once(hold(token, 31 * megabyte), 'data')
  t.match(String(refused), /^HTTP\/1.1 529 .*Too many large requests/s)
  const answer = await fetch(`${url}/model/v1/messages`, { method: 'POST', headers: { 'x-api-key': other.token }, body: '{}' })
  t.equal(answer.status, 200)
})

t.test('A model of the path cannot lead elsewhere', async (t) => {
  const { url, open, received } = await startGateway(t, {
    provider: (baseUrl) => ({ kind: 'bedrock', baseUrl, region: 'us-east-1', apiKey: realKey })
  })
  const { token } = await open()
  for (const model of ['..%2f..%2fusers', '%2e%2e', 'a%2f..%2fb', 'a%3fb', 'a%23b', 'a%5cb', 'a b'.replace(' ', '%20'), 'a%0d%0ab', 'a%252fb']) {
    const response = await fetch(`${url}/model/model/${model}/invoke`, { method: 'POST', headers: { authorization: `Bearer ${token}` }, body: '{}' })
    t.match(response.status, /^40[04]$/, model)
  }
  t.equal(received.length, 0)
  const arn = 'arn%3Aaws%3Abedrock%3Aus-east-1%3A1%3Ainference-profile%2Fus.anthropic.claude'
  const response = await fetch(`${url}/model/model/${arn}/invoke`, { method: 'POST', headers: { authorization: `Bearer ${token}` }, body: '{}' })
  t.equal(response.status, 200)
  t.equal(received[0]!.url, `/model/${arn}/invoke`)
})
