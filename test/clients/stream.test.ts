import { once } from 'node:events'
import { readFile } from 'node:fs/promises'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { createClient, unwrap, type EventStream } from '../../clients/typescript/index.js'
import { noBrowser, openBrowser, openPage } from '../helpers/browser.js'
import { eventually } from '../helpers/containers.js'
import { startCuttingProxy } from '../helpers/cutting-proxy.js'
import { ownTime } from '../helpers/own-time.js'
import { keys, live, startService } from '../helpers/service.js'
import { openStage } from '../helpers/stage.js'
import { installClient } from '../helpers/typescript-client.js'

const skip = live && 'the client is the same, whatever the service talks to'
const headers = { authorization: `Bearer ${keys.alice}` }

t.test('streams of the TypeScript client', { skip }, async (t) => {
  const service = await startService()
  t.teardown(() => service.close())
  const client = createClient({ url: service.url, headers })
  const { id } = await client.sandboxes.create().result()
  t.teardown(() => end(client, id))
  const runsOf = async () => (await unwrap(client.api.GET('/api/modal/sandbox/{id}/claude', { params: { path: { id } } }))).runs
  /** A client whose first connections break. */
  const throughProxy = async (t: Test, ...limits: number[]) => {
    const proxy = await startCuttingProxy(service.url, limits)
    t.teardown(proxy.close)
    return { proxy, client: createClient({ url: proxy.url, headers }) }
  }
  let finished = { runId: '', lastEventId: '' }

  await t.test('A connection that breaks again and again loses no event, and doubles none', async (t) => {
    const { client: unlucky, proxy } = await throughProxy(t, 2500, 4000, 3000, 1, 9000)
    const events = await all(unlucky.runs.start(id, { prompt: 'Hello.' }))
    t.equal(proxy.left, 0)
    const [started] = events
    if (started?.event !== 'run.started') return t.fail('it begins with its start')
    t.strictSame(events, await all(client.runs.stream(id, started.data.runId)), 'as one reader gets it at once')
    t.match(events.at(-1), { event: 'run.completed', data: { outcome: 'result' } })
    const positions = events.map((event) => Number(event.id))
    t.strictSame(positions, [...new Set(positions)].toSorted((one, other) => one - other))
    finished = { runId: started.data.runId, lastEventId: events.at(-1)!.id! }
  })

  await t.test('When the answer to its start is lost, a run is found, and not started twice', async (t) => {
    const before = (await runsOf()).length
    const { client: unlucky } = await throughProxy(t, 1)
    const events = await all(unlucky.runs.start(id, { prompt: 'Hello again.' }))
    t.match(events[0], { event: 'run.started' })
    t.match(events.at(-1), { event: 'run.completed', data: { outcome: 'result' } })
    t.equal((await runsOf()).length, before + 1)
  })

  await t.test('In a conversation of the caller\'s the lost answer is an error, as the run could not be told from others', async (t) => {
    const { client: unlucky } = await throughProxy(t, 1)
    const sessionId = '7b0e8a52-3b4c-4e0f-9d5e-0f6b6a1c2d3e'
    await t.rejects(unlucky.runs.start(id, { prompt: 'Hello.', sessionId }).result(), { name: 'ApiError', code: 'UNREACHABLE', status: 0 })
    const find = async () => (await runsOf()).find((run) => run.sessionId === sessionId)
    t.ok(await eventually(async () => await find() !== undefined))
    await client.runs.stream(id, (await find())!.runId).result()
  })

  await t.test('A run that has ended is read from anywhere to its end, and no further', async (t) => {
    const { runId, lastEventId } = finished
    const everything = await all(client.runs.stream(id, runId))
    const middle = everything.length >> 1
    const rest = await all(client.runs.stream(id, runId, { lastEventId: everything[middle]!.id! }))
    t.strictSame(rest, everything.slice(middle + 1))
    t.strictSame(await all(client.runs.stream(id, runId, { lastEventId })), [])
    await t.rejects(client.runs.stream(id, runId, { lastEventId }).result(), /no event run\.completed/)
    t.match(await client.runs.stream(id, runId).result(), { outcome: 'result', sessionId: String })
  })

  await t.test('A signal ends following with its reason, and leaving the loop the connection; neither ends the run', async (t) => {
    const { runId } = await client.runs.submit(id, { prompt: 'Hello.', onDisconnect: 'continue' })
    const leaving = new AbortController()
    const reason = new Error('no longer needed')
    await t.rejects(async () => {
      for await (const { event } of client.runs.stream(id, runId, { signal: leaving.signal })) {
        if (event === 'run.started') leaving.abort(reason)
      }
    }, reason)
    for await (const event of client.runs.stream(id, runId)) if (event.event === 'run.started') break
    t.ok(await eventually(async () => service.app.openStreams() === 0))
    await t.rejects(client.runs.stream(id, runId, { signal: AbortSignal.abort(reason) }).result(), reason)
    t.match(await client.runs.stream(id, runId).result(), { outcome: 'result' })
  })

  await t.test('What a retry cannot mend is thrown at once, with all that the service says', async (t) => {
    await t.rejects(client.runs.stream(id, 'run_none').result(), { name: 'ApiError', status: 404, code: 'RUN_NOT_FOUND', hint: /./, requestId: /^req_/ })
    await t.rejects(client.runs.start('sb-none', { prompt: 'x' }).result(), { status: 404, code: 'SANDBOX_NOT_FOUND' })
    await t.rejects(client.runs.start(id, { prompt: '' }).result(), { status: 400, code: 'BAD_REQUEST', field: 'body.prompt' })
    await t.rejects(client.sandboxes.create({ image: {} as never }).result(), { code: 'BAD_REQUEST', field: 'body.image.registry' })
    await t.rejects(client.sandboxes.exec(id, { command: ['true'], secrets: ['not-mine'] }).result(), { status: 403, code: 'FORBIDDEN' })
    await t.rejects(client.sandboxes.sync(id, { direction: 'upload' }).result(), { status: 409, code: 'NO_STORAGE' })
    const stranger = createClient({ url: service.url, headers: async () => ({ 'x-api-key': 'wrong' }) })
    await t.rejects(stranger.sandboxes.follow(id).result(), { status: 401, code: 'UNAUTHENTICATED' })
  })

  await t.test('A command\'s output comes as it is written, and a command whose connection breaks is not repeated', async (t) => {
    const events = await all(client.sandboxes.exec(id, { command: ['sh', '-c', 'echo out; sleep 0.2; echo err >&2; exit 3'] }))
    t.match(events, [{ event: 'stdout', data: { text: 'out\n' } }, { event: 'stderr', data: { text: 'err\n' } }, { event: 'exit', data: { exitCode: 3 } }])
    const { client: unlucky } = await throughProxy(t, 2000)
    const command = ['sh', '-c', 'echo x >> times; yes | head -c 100000; sleep 60']
    await t.rejects(unlucky.sandboxes.exec(id, { command }).result(), { code: 'CONNECTION_LOST', status: 0 })
    const { stdout } = await unwrap(client.api.POST('/api/modal/sandbox/{id}/exec', { params: { path: { id } }, body: { command: ['cat', 'times'] } }))
    t.equal(stdout, 'x\n')
  })

  await t.test('A create whose answers are lost makes one sandbox, which is followed to its end', async (t) => {
    const { client: unlucky, proxy } = await throughProxy(t, 1, 1500)
    const creating = unlucky.sandboxes.create({ name: 'only-one' })
    const steps = (await all(creating)).flatMap(({ event, data }) => event === 'step' ? [data.step] : [])
    t.ok(steps.length > 0)
    t.equal(proxy.left, 0)
    const created = await creating.result()
    t.match(created, { name: 'only-one', status: 'running' })
    const { sandboxes } = await unwrap(client.api.GET('/api/modal/sandbox'))
    t.strictSame(sandboxes.map(({ id }) => id).toSorted(), [id, created.id].toSorted())
    const states: string[] = []
    for await (const { data } of client.sandboxes.follow(created.id)) {
      states.push(data.status)
      if (states.length === 1) await end(client, created.id)
    }
    t.match(states.at(-1), 'terminated')
  })

  await t.test('A file is read and written as bytes', async (t) => {
    const params = { path: { id }, query: { path: 'bytes.bin' } }
    const bytes = new Uint8Array([0, 255, 10, 13, 128])
    await unwrap(client.api.PUT('/api/modal/sandbox/{id}/files/content', {
      params, body: bytes as never, bodySerializer: (body: unknown) => body, headers: { 'content-type': 'application/octet-stream' }
    }))
    const read = await unwrap(client.api.GET('/api/modal/sandbox/{id}/files/content', { params, parseAs: 'arrayBuffer' }))
    t.strictSame(new Uint8Array(read), bytes)
  })
})

t.test('what a client does about a service that is busy, away or older', { skip }, async (t) => {
  const completed = 'event: run.completed\nid: 9\ndata: {"outcome":"result"}\n\n'
  const refusal = (statusCode: number, code: string) => JSON.stringify({ statusCode, error: 'x', code, message: 'No.', hint: 'Wait.', requestId: 'req_1' })

  await t.test('It waits as long as it is told to', async (t) => {
    const { client } = await pretend(t, [
      (_request, response) => response.writeHead(429, { 'retry-after': '2' }).end(refusal(429, 'RATE_LIMITED')),
      stream(completed)
    ])
    const started = Date.now()
    t.match(await client.runs.start('sb-1', { prompt: 'x' }).result(), { outcome: 'result' })
    t.ok(Date.now() - started >= 1900)
  })

  await t.test('It goes on behind the last event, passes on gaps and what it does not know, and keeps back heartbeats', async (t) => {
    const { client, requests } = await pretend(t, [
      stream('event: heartbeat\ndata: {}\n\nevent: gap\nid: 5\ndata: {"from":0,"to":5}\n\nevent: shutdown\ndata: {}\n\n'),
      (_request, response) => response.writeHead(502).end('<html>'),
      stream('event: newer\nid: 7\ndata: {"x":1}\n\nevent: claude\nid: 8\ndata: {"type":'),
      stream('event: error\ndata: {"statusCode":503,"code":"MODAL_UNAVAILABLE","message":"","hint":""}\n\n'),
      stream(completed)
    ])
    t.strictSame(await all(client.runs.stream('sb-1', 'run_1')), [
      { event: 'gap', id: '5', data: { from: 0, to: 5 } }, { event: 'newer', id: '7', data: { x: 1 } },
      { event: 'run.completed', id: '9', data: { outcome: 'result' } }
    ])
    t.strictSame(requests.map(({ headers }) => headers['last-event-id']), [undefined, '5', '5', '7', '7'])
    t.ok(requests.every(({ url, headers }) => headers.authorization === 'Bearer secret' && !url!.includes('secret')))
  })

  await t.test('It gives up when nothing is heard for too long, and says why', async (t) => {
    const { url, close } = await pretend(t, [])
    await close()
    const time = ownTime()
    await t.rejects(createClient({ url, retryForMs: 1000 }).runs.stream('sb-1', 'run_1').result(), { code: 'UNREACHABLE', status: 0 })
    t.ok(time.stop() < 10_000)
    const broken: [Answer, { code: string, status?: number }][] = [
      [(_request, response) => response.writeHead(504).end('late'), { code: 'NOT_FROM_SERVICE', status: 504 }],
      [stream('event: error\ndata: {"statusCode":500,"code":"INTERNAL","message":"","hint":""}\n\n'), { code: 'INTERNAL' }],
      [stream(''), { code: 'CONNECTION_LOST' }]
    ]
    for (const [answer, error] of broken) {
      const { url, requests } = await pretend(t, Array.from({ length: 20 }, () => answer))
      await t.rejects(createClient({ url, retryForMs: 1000 }).runs.stream('sb-1', 'run_1').result(), error)
      t.ok(requests.length > 1 && requests.length < 10)
    }
  })

  await t.test('An error within a stream is thrown when it is final, and part of it when it belongs to the run', async (t) => {
    const { client } = await pretend(t, [
      stream('event: error\ndata: {"statusCode":409,"code":"SANDBOX_ENDED","message":"Over.","hint":""}\n\n'),
      stream(`event: error\nid: 8\ndata: {"statusCode":502,"code":"RUN_FAILED","message":"","hint":""}\n\n${completed}`)
    ])
    await t.rejects(client.runs.stream('sb-1', 'run_1').result(), { code: 'SANDBOX_ENDED', status: 409, message: 'Over.' })
    t.strictSame((await all(client.runs.stream('sb-1', 'run_1'))).map(({ event }) => event), ['error', 'run.completed'])
  })
})

t.test('In a page of another origin it works as it is, without a bundle', { skip: skip || noBrowser }, async (t) => {
  const { modules } = await installClient(t)
  const site = createServer((request, response) => {
    if (request.url === '/') return response.writeHead(200, { 'content-type': 'text/html' }).end(pageWithClient)
    if (request.url === '/favicon.ico') return response.writeHead(204).end()
    readFile(join(modules, request.url!)).then(
      (file) => response.writeHead(200, { 'content-type': 'text/javascript' }).end(file),
      () => response.writeHead(404).end())
  }).listen(0, '127.0.0.1')
  await once(site, 'listening')
  t.teardown(() => { site.close() })
  const origin = `http://127.0.0.1:${(site.address() as AddressInfo).port}`
  const service = await startService({ CORS_ORIGINS: origin })
  t.teardown(() => service.close())
  const browser = await openBrowser()
  t.teardown(() => browser.close())
  const { page, allow } = await openPage(t, browser, origin)
  allow(new RegExp(`^request to ${service.url}/api/`))
  // Chromium tells of each answer that is no success.
  allow(/status of 404/)

  await page.goto(origin)
  const seen = await page.evaluate(async ({ url, headers }) => {
    // In the page, where the import map resolves it.
    const name = '@modal-sandbox/client'
    const { createClient, ApiError, unwrap } = await import(name) as typeof import('../../clients/typescript/index.js')
    const client = createClient({ url, headers })
    const { id } = await client.sandboxes.create().result()
    const run = client.runs.start(id, { prompt: 'Hello.' })
    const events: string[] = []
    for await (const { event } of run) events.push(event)
    const error = await client.runs.stream(id, 'run_none').result().catch((error: unknown) => error)
    await unwrap(client.api.DELETE('/api/modal/sandbox/{id}', { params: { path: { id } } }))
    const { outcome } = await run.result()
    return { first: events[0], last: events.at(-1), outcome, code: error instanceof ApiError && error.code }
  }, { url: service.url, headers })
  t.strictSame(seen, { first: 'run.started', last: 'run.completed', outcome: 'result', code: 'RUN_NOT_FOUND' })
})

/** Without what bundlers do: the browser itself finds the modules of the packages. */
const pageWithClient = `<!doctype html><title>Another site</title><script type="importmap">${JSON.stringify({
  imports: {
    '@modal-sandbox/client': '/@modal-sandbox/client/dist/index.js',
    'openapi-fetch': '/openapi-fetch/dist/index.mjs',
    'eventsource-parser': '/eventsource-parser/dist/index.js'
  }
})}</script>`

t.test('A service that is killed and started again is survived, with each event once', { skip }, async (t) => {
  const stage = await openStage({ HEARTBEAT_MS: '500' })
  t.teardown(stage.close)
  const first = await stage.startReplica()
  const proxy = await startCuttingProxy(first.url)
  t.teardown(proxy.close)
  const client = createClient({ url: proxy.url, headers: { 'x-api-key': first.apiKey } })
  const { id } = await client.sandboxes.create({ env: { PATH: '/workspace/bin:/usr/local/bin:/usr/bin:/bin' } }).result()
  const program = `#!/bin/sh
i=0; while [ $i -lt 60 ]; do echo "{\\"type\\":\\"n\\",\\"n\\":$i}"; i=$((i+1)); sleep 0.1; done
echo '{"type":"result","is_error":false,"session_id":"s-1"}'
`
  const command = ['sh', '-c', 'mkdir -p bin && cat > bin/claude && chmod +x bin/claude']
  await client.sandboxes.exec(id, { command, stdin: program }).result()

  const numbers: unknown[] = []
  const run = client.runs.start(id, { prompt: 'count', onDisconnect: 'continue' })
  for await (const { event, data } of run) {
    if (event !== 'claude' || data.type !== 'n') continue
    numbers.push(data['n'])
    if (data['n'] !== 10) continue
    await first.kill()
    const next = await stage.startReplica()
    proxy.lead(next.url)
  }
  t.strictSame(numbers, Array.from({ length: 60 }, (_, n) => n))
  t.match(await run.result(), { outcome: 'result' })
})

async function all<Event extends { event: string, data: unknown }> (events: EventStream<Event, Event['event']>): Promise<Event[]> {
  const received: Event[] = []
  for await (const event of events) received.push(event)
  return received
}

async function end (client: ReturnType<typeof createClient>, id: string) {
  await unwrap(client.api.DELETE('/api/modal/sandbox/{id}', { params: { path: { id } } }))
}

type Answer = (request: IncomingMessage, response: ServerResponse) => unknown

function stream (text: string): Answer {
  return (_request, response) => response.writeHead(200, { 'content-type': 'text/event-stream' }).end(text)
}

/** A server in the service's place that answers one request after another as told. */
async function pretend (t: Test, answers: Answer[]) {
  const requests: IncomingMessage[] = []
  const server = createServer((request, response) => {
    requests.push(request)
    const answer = answers.shift()
    if (answer === undefined) response.destroy()
    else request.resume().on('end', () => answer(request, response))
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const close = async () => {
    server.close()
    server.closeAllConnections()
  }
  t.teardown(close)
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  return { url, close, requests, client: createClient({ url, headers: { authorization: 'Bearer secret' } }) }
}
