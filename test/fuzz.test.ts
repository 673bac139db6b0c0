import type { AddressInfo } from 'node:net'
import t from 'tap'
import { digest, randomId } from '../lib/ids.js'
import { fuzz } from './helpers/fuzz.js'
import { sendRaw, type RawAnswer } from './helpers/raw-http.js'
import { routesOf } from './helpers/routes.js'
import { accountIds, keys, readSse, skip, startService } from './helpers/service.js'

const requests = Number(process.env.FUZZ ?? 2000)
const seed = Number(process.env.FUZZ_SEED ?? 1)
const path = '/api/modal/sandbox'
const marker = randomId('marker')
const limits = { sandboxes: 1, runs: 1, streams: 50, requestsPerMinute: 1_000_000 }

/** A valid body for each route that takes one; the secret of an exec is one that the account may not use (403). */
const bodies = {
  'POST /api/session': { credential: 'x' },
  'POST /api/modal/sandbox': {
    image: { registry: 'local' },
    volume: { name: 'v', mountPath: '/v' },
    env: { A: '1' },
    secrets: ['test-one'],
    workdir: '/w',
    timeoutMs: 60_000,
    idleTimeoutMs: 60_000,
    cpu: 1,
    memoryMiB: 512,
    network: { block: true },
    git: { url: 'https://example.com/a', branch: 'b', secretName: 'test-one' },
    name: 'n',
    tags: { a: 'b' }
  },
  'POST /api/modal/sandbox/:id/exec': {
    command: ['true'], workdir: '/', env: { A: '1' }, secrets: ['not-allowed'], timeoutMs: 2000, stdin: 'x', encoding: 'utf8'
  },
  'POST /api/modal/sandbox/:id/changes/stage': { paths: ['a'] },
  'POST /api/modal/sandbox/:id/changes/unstage': { paths: ['a'] },
  'POST /api/modal/sandbox/:id/changes/commit': { message: 'x' },
  'POST /api/modal/sandbox/:id/changes/branch': { name: 'b', create: true },
  'PUT /api/modal/sandbox/:id/permissions': { allow: ['Read'] },
  'PATCH /api/modal/sandbox/:id/sessions/:sessionId': { title: 'x' },
  'POST /api/modal/sandbox/:id/sync': { direction: 'upload', dryRun: true, delete: false },
  'POST /api/modal/sandbox/:id/claude/:runId/permissions/:permissionId': {
    decision: 'deny', message: 'x', answers: [{ options: ['A'], text: 'x' }], permissionMode: 'ask', remember: 'run'
  },
  'POST /api/modal/sandbox/:id/claude': {
    prompt: 'x', model: 'm', permissionMode: 'plan', interactive: true, allowedTools: ['Bash'], maxTurns: 1, timeoutMs: 2000, onDisconnect: 'terminate'
  }
}

t.test('fuzz', { skip }, async (t) => {
  // Limits that keep random requests from starting anything expensive.
  const service = await startService({
    ACCOUNTS: JSON.stringify([
      {
        id: accountIds.alice,
        apiKeys: [`sha256:${digest(keys.alice)}`],
        secrets: ['test-*'],
        limits: { ...limits, sandboxes: 0, runs: 0 }
      },
      { id: accountIds.bob, apiKeys: [`sha256:${digest(keys.bob)}`], limits }
    ])
  })
  t.teardown(service.close)
  const { port } = service.app.server.address() as AddressInfo
  const alice = await service.app.accounts.authenticate(keys.alice)
  const own = (await service.app.sandboxes.create({ ...alice, limits: { ...alice.limits, ...limits } }, {})).id
  service.remember(own)
  const foreign = await foreignThings()

  async function foreignThings () {
    const spec = { name: marker.slice(0, 20), volume: { name: 'work' }, tags: { marker }, env: { MARKER: marker } }
    const { id } = await (await service.request(path, { method: 'POST', as: 'bob', json: spec })).json() as { id: string }
    const json = { prompt: `${marker}\n\`\`\`scripted\n[[{"text":"${marker}"}]]\n\`\`\`` }
    const run = await service.request(`${path}/${id}/claude`, { method: 'POST', as: 'bob', json })
    let started
    for await (const { event, data } of readSse(run)) if (event === 'run.started') started = data
    return { id, ...started as { runId: string, sessionId: string } }
  }

  await t.test(`${requests} random requests on every route: no 5xx, no crash, no data of another account`, async (t) => {
    const routes = routesOf(service.app)
    const source = fuzz({
      seed,
      routes,
      bodies,
      ids: [own, own, foreign.id, foreign.runId, foreign.sessionId],
      apiKey: keys.alice,
      avoid: new RegExp(`^DELETE .*${own}/?($|[?])`)
    })
    const statuses = new Map<number, number>()
    const bad: string[] = []
    let sent = 0
    const worker = async () => {
      while (sent < requests && bad.length < 10) {
        const number = sent++
        const bytes = source.next().value
        // The rate limit per address is tested elsewhere.
        const from = `127.1.${Math.floor(number / 250_000)}.${1 + Math.floor(number / 1000) % 250}`
        const answer = await sendRaw({ port, from, bytes })
        statuses.set(answer.status, (statuses.get(answer.status) ?? 0) + 1)
        const problem = problemOf(bytes, answer)
        if (problem === undefined) continue
        bad.push(`#${number} ${problem}\n${bytes.slice(0, 600)}\n=> ${answer.text.slice(0, 600)}`)
      }
    }
    await Promise.all(Array.from({ length: 8 }, worker))
    t.strictSame(bad, [])
    t.comment(`seed ${seed}: ${JSON.stringify(Object.fromEntries(statuses))}`)
    for (const status of [200, 400, 401, 403, 404, 415, 431]) t.ok(statuses.has(status), `${status} is among the responses`)
    t.equal(({} as any).polluted, undefined)
    t.equal((await service.request('/healthz')).status, 200)
    const untouched = await service.request(`${path}/${foreign.id}`, { as: 'bob' })
    t.match(await untouched.json(), { status: 'running', tags: { marker } }, 'the other account\'s sandbox is unchanged')
  })

  await t.test('Requests that are too large, too deep or too slow get the usual error body, and delay no others', async (t) => {
    const head = (length: number) => 'POST /api/session HTTP/1.1\r\nhost: x\r\nconnection: close\r\n' +
      `content-type: application/json\r\ncontent-length: ${length}\r\n\r\n`
    const post = async (body: string) => await sendRaw({ port, from: '127.2.0.1', bytes: head(body.length) + body, patienceMs: 30_000 })
    const large = 4 * 1024 * 1024 - 64
    const cases: [string, RawAnswer | Promise<RawAnswer>, number][] = [
      ['headers of 17 KiB', sendRaw({ port, bytes: `GET / HTTP/1.1\r\nhost: x\r\nx: ${'x'.repeat(17_000)}\r\n\r\n`, patienceMs: 30_000 }), 431],
      ['4 MiB of open brackets', post('['.repeat(large)), 400],
      ['4 MiB of nested arrays', post('['.repeat(large / 2) + ']'.repeat(large / 2)), 400],
      ['4 MiB of nested objects', post('{"a":'.repeat(large / 7) + '1' + '}'.repeat(large / 7)), 400],
      ['300,000 unknown fields', post(`{${Array.from({ length: 300_000 }, (_, index) => `"f${index}":1`).join()}}`), 400],
      ['a number of 4 MiB', post(`{"credential":${'9'.repeat(large - 20)}}`), 400],
      ['__proto__', post('{"credential":"x","__proto__":{"polluted":true}}'), 400],
      ['constructor.prototype', post('{"credential":"x","constructor":{"prototype":{"polluted":true}}}'), 400],
      ['5 MiB', sendRaw({ port, bytes: head(5 * 1024 * 1024), patienceMs: 30_000 }), 413]
    ]
    for (const [name, sent, status] of cases) {
      const answer = await sent
      t.equal(problemOf('POST', answer), undefined, name)
      t.equal(answer.status, status, name)
    }
    t.equal(({} as any).polluted, undefined)

    const { server } = service.app
    t.match(server, { headersTimeout: 20_000, requestTimeout: 900_000, connectionsCheckingInterval: 5000 })
    Object.assign(server, { headersTimeout: 300, requestTimeout: 300 })
    const slow = await Promise.all(['GET / HTTP/1.1\r\nhost: x\r\nx: ', head(100) + '{', ''].map(async (bytes) =>
      await sendRaw({ port, bytes, patienceMs: 12_000 })))
    t.strictSame(slow.map(({ status }) => status), [408, 408, 408], 'headers, a body, or nothing at all')
    for (const answer of slow) t.equal(problemOf('GET', answer), undefined)
  })

  function problemOf (bytes: string, { status, headers, body, text }: RawAnswer): string | undefined {
    // CONNECT gets no response; no tunnel is ever opened.
    if (status === 0) return /^CONNECT /.test(bytes) ? undefined : 'no answer'
    if (status >= 500) return `status ${status}`
    if (text.includes(marker) || (text.includes(foreign.sessionId) && !bytes.includes(foreign.sessionId))) return 'data of another account'
    if (/\/node_modules\/|\bat async |\.ts:\d/.test(text)) return 'internal details'
    if (headers['x-injected'] !== undefined) return 'a forged header'
    if (!/^req_\w{20}$/.test(headers['x-request-id'] ?? '')) return 'no request id'
    if (status < 400 || /^HEAD /.test(bytes)) return
    try {
      const { type, statusCode, error, code, message, hint, requestId } = JSON.parse(unchunk(headers, body))
      // Of the model gateway.
      if (type === 'error' && [error.type, error.message].every((part) => typeof part === 'string')) return
      const complete = [error, code, message, hint].every((part) => typeof part === 'string' && part !== '')
      if (complete && statusCode === status && requestId === headers['x-request-id']) return
    } catch {}
    return 'an error body of another shape'
  }
})

function unchunk (headers: Record<string, string>, body: string): string {
  return headers['transfer-encoding'] === 'chunked' ? body.replace(/^[0-9a-f]+\r\n|\r\n0\r\n\r\n$/g, '') : body
}
