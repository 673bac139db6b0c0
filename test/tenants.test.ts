import { setTimeout as sleep } from 'node:timers/promises'
import { ModalClient, Sandbox } from 'modal'
import t from 'tap'
import { digest, randomId } from '../lib/ids.js'
import { appName, volumeName } from '../services/modal/names.js'
import { Reaper, type ReaperOptions } from '../services/sandboxes/reaper.js'
import { SandboxService } from '../services/sandboxes/service.js'
import { decodeTags, encodeTags, type SandboxRecord } from '../services/sandboxes/tags.js'
import { seeded } from './helpers/fuzz.js'
import { routesOf } from './helpers/routes.js'
import { accountIds, keys, readSse, skip, startService, type Service } from './helpers/service.js'

const path = '/api/modal/sandbox'
const marker = randomId('marker')
const silent = { debug () {}, info () {}, warn () {}, error () {} }

interface Foreign {
  /** What the request carries besides the ids of another account. */
  json?: unknown
  file?: string
  query?: string
  /** The status of the same request by the owner, to prove that only the account makes a difference. */
  owner?: number
}

/**
 * Every route: `open` to the public, the account's own `collection`, or about a resource that may belong to another
 * account. A route that is missing here fails the test. They are tried in this order: destructive ones come last.
 */
const routes: Record<string, 'open' | 'collection' | Foreign> = {
  'GET /': 'open',
  'GET /*': 'open',
  'GET /diagram.html': 'open',
  'GET /index.html': 'open',
  'GET /terminal.html': 'open',
  'GET /healthz': 'open',
  'GET /readyz': 'open',
  'GET /metrics': 'open',
  'GET /openapi.json': 'open',
  'GET /api/modal/status': 'open',
  // For tokens of runs: see test/adversary/model-key.test.ts.
  'POST /model/v1/messages': 'open',
  'POST /model/v1/messages/count_tokens': 'open',
  'POST /api/session': 'open',
  'DELETE /api/session': 'open',
  'GET /api/modal/sandbox': 'collection',
  'POST /api/modal/sandbox': 'collection',
  'GET /api/modal/volume': 'collection',
  // By a name that each account has for itself: see test/integration/volumes.test.ts.
  'DELETE /api/modal/volume/:name': 'collection',
  // In a queue that each account has for itself: see test/integration/creations.test.ts.
  'GET /api/modal/sandbox/creations/:creationId': 'collection',
  'GET /api/modal/sandbox/:id': {},
  'POST /api/modal/sandbox/:id/exec': { json: { command: ['cat', 'secret.txt'] } },
  // Over a WebSocket: see test/integration/terminal.test.ts.
  'GET /api/modal/sandbox/:id/terminal': { owner: 426 },
  'GET /api/modal/sandbox/:id/files': {},
  'GET /api/modal/sandbox/:id/files/content': { query: '?path=secret.txt' },
  'PUT /api/modal/sandbox/:id/files/content': { query: '?path=other.txt', file: 'x' },
  'DELETE /api/modal/sandbox/:id/files/content': { query: '?path=other.txt' },
  'GET /api/modal/sandbox/:id/changes': {},
  'GET /api/modal/sandbox/:id/changes/diff': { query: '?path=secret.txt', owner: 409 },
  'POST /api/modal/sandbox/:id/changes/stage': { json: { paths: ['secret.txt'] }, owner: 409 },
  'POST /api/modal/sandbox/:id/changes/unstage': { json: { paths: ['secret.txt'] }, owner: 409 },
  'POST /api/modal/sandbox/:id/changes/commit': { json: { message: 'All of it' }, owner: 409 },
  'POST /api/modal/sandbox/:id/changes/branch': { json: { name: 'mine' }, owner: 409 },
  'GET /api/modal/sandbox/:id/ports': {},
  'POST /api/modal/sandbox/:id/ports/:port': {},
  'GET /api/modal/sandbox/:id/sync': { owner: 409 },
  'POST /api/modal/sandbox/:id/sync': { json: { direction: 'upload' }, owner: 409 },
  'GET /api/modal/sandbox/:id/sessions': {},
  'GET /api/modal/sandbox/:id/sessions/:sessionId': {},
  'PATCH /api/modal/sandbox/:id/sessions/:sessionId': { json: { title: 'Renamed' } },
  'GET /api/modal/sandbox/:id/permissions': {},
  'PUT /api/modal/sandbox/:id/permissions': { json: { allow: ['Bash'] } },
  'GET /api/modal/sandbox/:id/claude': {},
  'GET /api/modal/sandbox/:id/claude/:runId': {},
  'GET /api/modal/sandbox/:id/claude/:runId/events': {},
  'POST /api/modal/sandbox/:id/claude/:runId/cancel': {},
  'POST /api/modal/sandbox/:id/volume/reload': {},
  'POST /api/modal/sandbox/:id/claude/:runId/permissions/:permissionId': { json: { decision: 'allow' }, owner: 404 },
  'POST /api/modal/sandbox/:id/claude': { json: { prompt: 'Hello' } },
  'DELETE /api/modal/sandbox/:id/sessions/:sessionId': {},
  'DELETE /api/modal/sandbox/:id': {}
}

t.test('tenants', { skip }, async (t) => {
  const carol = { key: randomId('key'), id: `t-${randomId('c').slice(2, 12)}` }
  const limits = { sandboxes: 10, runs: 5, streams: 50, requestsPerMinute: 100_000 }
  const service = await startService({
    ACCOUNTS: JSON.stringify([
      ...(['alice', 'bob'] as const).map((name) => ({ id: accountIds[name], apiKeys: [`sha256:${digest(keys[name])}`], limits })),
      { id: carol.id, apiKeys: [`sha256:${digest(carol.key)}`], limits: { ...limits, sandboxes: 1, runs: 0, streams: 2 } }
    ])
  })
  t.teardown(service.close)
  const { client } = service.app.modal
  const create = async (json: object = {}, as: 'alice' | 'bob' = 'alice') => {
    const response = await service.request(path, { method: 'POST', json, as })
    return await response.json() as { id: string, workdir: string }
  }

  const reaper = (options: Partial<ReaperOptions> = {}) =>
    new Reaper({ client, log: silent, deployment: service.config.deployment, mayOwn: () => true, ...options })
  const record = (fields: Partial<SandboxRecord> = {}): SandboxRecord => ({
    owner: appName(accountIds.bob),
    deployment: service.config.deployment,
    createdAt: new Date().toISOString(),
    expiresAt: new Date(Date.now() + 300_000).toISOString(),
    image: 'local',
    workdir: '/workspace',
    request: randomId('r').slice(-20),
    tags: {},
    ...fields
  })
  /** A sandbox as an interrupted request leaves it, created with the bare SDK. */
  const bare = async (tags: Record<string, string>) => {
    const app = await client.apps.fromName(appName(accountIds.bob), { createIfMissing: true })
    const image = await client.images.fromRegistry(service.app.modal.backend === 'local' ? 'local' : 'debian:12-slim').build(app)
    return await client.sandboxes.create(app, image, { tags, timeoutMs: 300_000 })
  }
  const later = (minutes: number) => () => Date.now() + minutes * 60_000

  await t.test('On every route, resources of another account do not exist (6.3)', async (t) => {
    const found = routesOf(service.app).filter((route) => !route.startsWith('GET /docs'))
    t.strictSame(found.toSorted(), Object.keys(routes).toSorted(), 'every route is in the list above')
    const spec = { name: marker.slice(0, 20), volume: { name: marker.slice(0, 20) }, tags: { marker } }
    const { id } = await create(spec)
    await exec(service, id, `echo ${marker} > secret.txt`)
    const ids = { id, port: '8080', ...await run(service, id, 'cat secret.txt') }
    const own = await create(spec, 'bob')
    t.match(own, { id: /^sb-/ }, 'another account may use the same names')
    t.notMatch(await exec(service, own.id, 'ls -A; cat *', 'bob'), marker, 'which refer to other files')
    await service.request(`${path}/${own.id}`, { method: 'DELETE', as: 'bob' })
    const mine = (await create({}, 'bob')).id

    for (const [route, kind] of Object.entries(routes)) {
      const [method, pattern] = route.split(' ') as [string, string]
      if (kind === 'open') continue
      const { json, file, query, owner = 200 } = kind === 'collection' ? {} as Foreign : kind
      const send = async (params: Record<string, string>, as: 'alice' | 'bob' | null) => {
        const url = pattern.replace(/:(\w+)/g, (_match, name: string) => params[name] ?? 'none') + (query ?? '')
        const upload = { body: file!, headers: { 'content-type': 'application/octet-stream' } }
        const body = file === undefined ? json !== undefined && { json } : upload
        const response = await service.request(url, { method, as, ...body })
        const text = await response.text()
        return { status: response.status, text, same: text.replace(/req_\w+/g, '') }
      }
      t.match(await send(ids, null), { status: 401, text: /UNAUTHENTICATED/ }, `${route}: without a credential`)
      if (kind === 'collection') {
        const seen = method === 'GET' && await send({}, 'bob')
        if (seen) t.notMatch(seen, { text: new RegExp(`${marker}|${id}`) }, `${route}: only the account's own`)
        continue
      }
      const foreign = await send(ids, 'bob')
      t.match(foreign, { status: 404, text: /SANDBOX_NOT_FOUND/ }, `${route}: another account's sandbox`)
      t.equal(foreign.same, (await send({ ...ids, id: 'sb-01ARZ3NDEKTSV4RRFFQ69G5FAV' }, 'bob')).same, `${route}: like one that does not exist`)
      if (/:id\/.*:\w+Id/.test(pattern)) {
        const guessed = await send({ ...ids, id: mine }, 'bob')
        t.match(guessed, { status: 404, text: /_NOT_FOUND/ }, `${route}: a guessed id in the account's own sandbox`)
        t.notMatch(guessed.text, marker)
      }
      const allowed = await send(ids, 'alice')
      t.equal(allowed.status, owner, `${route}: its owner may (${allowed.text.slice(0, 200)})`)
    }
  })

  await t.test('Lists, details and status are no activity: nothing is executed in the sandbox', async (t) => {
    const { id } = await create()
    const used = (await create()).id
    await run(service, used, 'true')
    // The replica has seen the end of the run.
    t.match(await (await service.request(`${path}/${used}`)).json(), { activeRun: null })
    const { exec: real } = Sandbox.prototype
    let execs = 0
    Sandbox.prototype.exec = async () => {
      execs++
      throw new Error('activity')
    }
    t.teardown(() => { Sandbox.prototype.exec = real })
    for (const url of [path, `${path}/${id}`, `${path}/${used}`, `${path}/${used}/claude`, '/api/modal/status']) {
      t.equal((await service.request(url)).status, 200, url)
    }
    await reaper().sweep()
    t.equal(execs, 0)
    Sandbox.prototype.exec = real
    for (const made of [id, used]) await service.request(`${path}/${made}`, { method: 'DELETE' })
  })

  await t.test('Errors about limits state the limit', async (t) => {
    const asCarol = async (url: string, init: RequestInit = {}) => {
      const headers = { 'x-api-key': carol.key, 'content-type': 'application/json', ...init.headers }
      return await fetch(service.url + url, { method: init.body ? 'POST' : 'GET', ...init, headers })
    }
    const { id } = await (await asCarol(path, { body: '{}' })).json() as { id: string }
    t.match(await (await asCarol(path, { body: '{}' })).json(), {
      statusCode: 429,
      code: 'LIMIT_REACHED',
      limit: 1,
      message: 'Your account may have 1 running sandboxes, including those that are being created.'
    })
    t.match(await (await asCarol(`${path}/${id}/claude`, { body: '{"prompt":"x"}' })).json(), {
      statusCode: 429, code: 'LIMIT_REACHED', message: /0 runs/, limit: 0
    })
    t.match(await (await asCarol(path, { body: JSON.stringify({ env: { A: 'x'.repeat(5_000_000) } }) })).json(), {
      statusCode: 413, code: 'PAYLOAD_TOO_LARGE', message: /4194304 bytes/, limit: 4_194_304
    })

    const sleeper = async (signal: AbortSignal) =>
      await asCarol(`${path}/${id}/exec`, { body: '{"command":["sleep","4141"]}', signal })
    const left = new AbortController()
    const kept = new AbortController()
    const both = await Promise.all([sleeper(left.signal), sleeper(kept.signal)])
    t.strictSame(both.map(({ status }) => status), [200, 200])
    const refused = await sleeper(kept.signal)
    t.match(await refused.json(), {
      statusCode: 429, code: 'LIMIT_REACHED', message: 'Your account may have 2 open streams at a time.', limit: 2
    })
    const counting = JSON.stringify({ command: ['sh', '-c', "cat /proc/[0-9]*/cmdline | tr '\\0' ' ' | grep -o 'sleep 414[1]' | wc -l"] })
    const count = async () => {
      const counted = await asCarol(`${path}/${id}/exec`, { body: counting, headers: { accept: 'application/json' } })
      return (await counted.json() as { stdout: string }).stdout
    }
    // An exec is confirmed before the process runs its program.
    for (let tries = 0; tries < 50 && await count() !== '2\n'; tries++) await sleep(100)
    t.equal(await count(), '2\n', 'a refused command was not started; a JSON response takes no slot')
    left.abort()
    let status = 429
    for (let tries = 0; tries < 100 && status === 429; tries++) {
      await sleep(50)
      status = (await sleeper(kept.signal)).status
    }
    t.equal(status, 200, 'a released slot is free again')
    kept.abort()
    t.equal((await asCarol(`${path}/${id}`, { method: 'DELETE' })).status, 200)
  })

  await t.test('Names of Modal apps and volumes never collide, whatever the accounts and volumes are called (1.4)', async (t) => {
    const pieces = ['a', 'A', 'b', '-', '_', '.', '..', '/', '\\', ' ', 'é', 'e\u0301', '\ud800', '\udfff', '\ufffd', '日本', '👩‍🚀', '\0',
      '\n', '%2e', 'sha256.', '*', 'acct-', 'x'.repeat(31), 'x'.repeat(32), 'İ', 'ſ', '__proto__']
    const random = seeded(7)
    const pick = <T>(from: T[]): T => from[Math.floor(random() * from.length)]!
    const text = (from: string[], parts: number) => Array.from({ length: 1 + Math.floor(random() * parts) }, () => pick(from)).join('')
    const accounts = new Set(['a', 'a-b', 'A', 'a.b', ...Array.from({ length: 1500 }, () => text(pieces, 4).slice(0, 200))])
    for (const id of [...accounts]) accounts.add(appName(id).slice(5)).add(digest(id, 24))
    const plain = ['a', 'b', 'c', '-', '_', '0', 'B', 'x'.repeat(8)]
    const made = Array.from({ length: 12 }, () => text(plain, 4).slice(0, 32))
    const volumes = [...new Set(['b-c', 'c', '-', '_', 'x'.repeat(32), ...made])]
    const seen = new Map<string, string>()
    for (const account of accounts) {
      const names = [[appName(account), ''], ...volumes.map((volume) => [volumeName(account, volume), volume])] as [string, string][]
      for (const [name, volume] of names) {
        // It is not known whether Modal's names are case-sensitive.
        const [slug, rest] = volume === '' ? [name, ''] : [name.slice(0, -volume.length), volume]
        const kind = `${volume === '' ? 'app' : 'volume'} ${slug.toLowerCase()}${rest}`
        const owner = JSON.stringify([account, volume])
        if (seen.has(kind)) t.equal(owner, seen.get(kind), name)
        seen.set(kind, owner)
        if (/^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/.test(name) && !name.includes('..')) continue
        t.fail(`${JSON.stringify(account)} has the name ${name}`)
      }
    }
    t.ok(seen.size > 20_000, `${seen.size} names`)
  })

  await t.test('The reaper terminates overdue, unfinished and ownerless sandboxes, and nothing else', async (t) => {
    const fine = await bare(encodeTags(record()))
    const overdue = await bare(encodeTags(record({ expiresAt: new Date(Date.now() - 26 * 60_000).toISOString() })))
    const barely = await bare(encodeTags(record({ expiresAt: new Date(Date.now() - 60_000).toISOString() })))
    const unfinished = await bare(encodeTags(record({ preparing: new Date(Date.now() - 1000).toISOString() })))
    const underWay = await bare(encodeTags(record({ preparing: new Date(Date.now() + 60_000).toISOString() })))
    const ownerless = await bare(encodeTags(record({ owner: 'acct-removed' })))
    const elsewhere = await bare(encodeTags(record({ deployment: 'staging', owner: 'acct-removed', expiresAt: '2020-01-01T00:00:00.000Z' })))
    const strange = await bare({ 'ms-deployment': service.config.deployment, other: 'tool' })
    const untagged = await bare({})
    const all = { fine, overdue, barely, unfinished, underWay, ownerless, elsewhere, strange, untagged }
    const ended = async () => {
      const names = Object.keys(all)
      const codes = await Promise.all(Object.values(all).map(async (sandbox) => await sandbox.poll()))
      return names.filter((_name, index) => codes[index] !== null)
    }

    let now = Date.now()
    const logged: object[] = []
    const one = reaper({
      mayOwn: (owner) => service.app.accounts.mayOwn(owner),
      now: () => now,
      log: { ...silent, warn: (fields) => { logged.push(fields) } }
    })
    const two = reaper()
    const [first, second] = await Promise.all([one.sweep(), two.sweep()])
    t.strictSame(await ended(), ['overdue', 'unfinished'], 'two replicas at once')
    t.strictSame(new Set([...first, ...second].map(({ id }) => id)), new Set([overdue.sandboxId, unfinished.sandboxId]))
    now += 14 * 60_000
    await one.sweep()
    now += 2 * 60_000
    t.match(await one.sweep(), [{ id: ownerless.sandboxId, reason: 'ownerless' }], 'only after a while, as another replica may know the account')
    t.match(logged.at(-1), { sandboxId: ownerless.sandboxId, reason: 'ownerless', owner: 'acct-removed' }, 'logged with its ids')
    await reaper({ now: later(60 * 24 * 30) }).sweep()
    t.strictSame(await ended(), ['fine', 'overdue', 'barely', 'unfinished', 'underWay', 'ownerless'])
    t.strictSame(await Promise.all([elsewhere, strange, untagged].map((sandbox) => sandbox.poll())), [null, null, null], 'not of this deployment')
    await Promise.all([elsewhere, strange, untagged].map((sandbox) => sandbox.terminate({ wait: true })))
  })

  await t.test('The reaper checks again before it terminates, and a sandbox that fails does not delay the others', async (t) => {
    const saved = await bare(encodeTags(record()))
    const due = await bare(encodeTags(record({ preparing: new Date(Date.now() - 1000).toISOString() })))
    const stale = await client.sandboxes.fromId(saved.sandboxId)
    const { getTags } = stale
    let looks = 0
    stale.getTags = async () => looks++ === 0 ? encodeTags(record({ preparing: '2020-01-01T00:00:00.000Z' })) : await getTags.call(stale)
    const broken = await client.sandboxes.fromId(saved.sandboxId)
    broken.getTags = async () => { throw new Error('no answer') }
    const missing = await client.sandboxes.fromId('sb-01ARZ3NDEKTSV4RRFFQ69G5FAV')
    const list = async function * () { yield * [stale, broken, missing, due] }
    const listing = { sandboxes: { list } } as unknown as ModalClient
    const errors: object[] = []
    const log = { ...silent, error: (fields: object) => { errors.push(fields) } }
    const reaped = await reaper({ client: listing, log }).sweep()
    t.strictSame(reaped, [{ id: due.sandboxId, reason: 'unfinished' }])
    t.equal(looks, 2)
    t.match(errors, [{ sandboxId: saved.sandboxId, err: { step: 'reaper tags', cause: { message: /no answer/ } } }])
    t.equal(await saved.poll(), null)
    await saved.terminate({ wait: true })
  })

  await t.test('An interrupted create is completed by the next request with its idempotency key', async (t) => {
    const headers = { 'idempotency-key': randomId('order') }
    const answer = await service.request(path, { method: 'POST', json: { workdir: '/srv/made' }, headers })
    const first = await answer.json() as { id: string }
    const sandbox = await client.sandboxes.fromId(first.id)
    const made = decodeTags(await sandbox.getTags())!
    t.equal(made.preparing, undefined)
    await exec(service, first.id, 'cd / && rm -r /srv/made', 'alice', '/')
    await sandbox.setTags(encodeTags({ ...made, preparing: new Date(Date.now() + 60_000).toISOString() }))
    const replica = new SandboxService({
      client,
      log: silent,
      image: { backend: service.app.modal.backend, claudeVersion: '1.0.0', claudeRegistry: 'http://registry.invalid' },
      timeouts: service.config.sandbox,
      deployment: 'other'
    })
    const alice = await service.app.accounts.authenticate(keys.alice)
    const again = await replica.create(alice, { workdir: '/srv/made' }, { idempotencyKey: headers['idempotency-key'] })
    t.equal(again.id, first.id)
    t.equal(await exec(service, first.id, 'pwd'), '/srv/made\n')
    const { request, ...rest } = decodeTags(await sandbox.getTags())!
    t.strictSame({ ...rest, request: made.request }, made, 'and is marked ready')
    t.not(request, made.request, 'it belongs to the request that completed it')
    await service.request(`${path}/${first.id}`, { method: 'DELETE' })
  })
})

/** Runs a script in a sandbox. @returns its output. */
async function exec (service: Service, id: string, script: string, as: 'alice' | 'bob' = 'alice', workdir?: string): Promise<string> {
  const response = await service.request(`${path}/${id}/exec`, {
    method: 'POST', as, json: { command: ['sh', '-c', script], ...(workdir && { workdir }) }, headers: { accept: 'application/json' }
  })
  return (await response.json() as { stdout: string }).stdout
}

/** A complete run of a command, with the marker in its prompt. */
async function run (service: Service, id: string, command: string) {
  const prompt = `${marker}\n\`\`\`scripted\n${JSON.stringify([[{ tool: 'Bash', input: { command } }]])}\n\`\`\``
  const response = await service.request(`${path}/${id}/claude`, { method: 'POST', json: { prompt } })
  let ids
  for await (const { event, data } of readSse(response)) if (event === 'run.started') ids = data
  return ids as { runId: string, sessionId: string }
}
