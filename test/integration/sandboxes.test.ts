import { once } from 'node:events'
import { createServer, type AddressInfo } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { ModalClient } from 'modal'
import { ClientError, Status, type ClientMiddleware } from 'nice-grpc-common'
import t from 'tap'
import { withModalServer } from '../../config.js'
import { AppError } from '../../errors.js'
import { randomId } from '../../lib/ids.js'
import { appName, volumeName } from '../../services/modal/names.js'
import { SandboxService } from '../../services/sandboxes/service.js'
import { accountIds, keys, readSse, skip, startService, type Service } from '../helpers/service.js'

const path = '/api/modal/sandbox'
const missing = 'sb-01ARZ3NDEKTSV4RRFFQ69G5FAV'
const silent = { debug () {}, info () {}, warn () {}, error () {} }
type Options = Parameters<Service['request']>[1]

t.test('sandboxes', { skip }, async (t) => {
  const service = await startService()
  const { client, backend } = service.app.modal
  const local = backend === 'local'
  const volumes = new Set<string>()
  t.teardown(async () => {
    await service.close()
  })

  const request = async (url: string, options: Options = {}) => {
    const response = await service.request(url, options)
    return { status: response.status, headers: response.headers, body: await response.json() as any }
  }
  const create = async (json: Record<string, any> = {}, options: Options = {}) => {
    if (json.volume) volumes.add(json.volume.name)
    return await request(path, { method: 'POST', json, ...options })
  }
  const created = async (json: Record<string, any> = {}, options: Options = {}) => {
    const { status, body } = await create(json, options)
    if (status !== 200) throw new Error(JSON.stringify(body))
    return body
  }
  const run = async (id: string, script: string) => {
    const { body } = await request(`${path}/${id}/exec`, {
      method: 'POST', json: { command: ['sh', '-c', script] }, headers: { accept: 'application/json' }
    })
    return body.stdout as string
  }
  const end = async (id: string, options: Options = {}) => await request(`${path}/${id}`, { method: 'DELETE', ...options })

  await t.test('A sandbox has all that was asked for, and is real (1.1-1.4, 1.7-1.9, 6.1, 6.2, 8.3)', async (t) => {
    const { status, body, headers } = await create({
      volume: { name: 'full', mountPath: '/data' },
      env: { GREETING: 'hello "you"\n$HOME' },
      workdir: '/data/deep/er',
      timeoutMs: 120_000,
      idleTimeoutMs: 60_000,
      cpu: 1.5,
      memoryMiB: 1024,
      name: 'full-1',
      tags: { team: 'blue & green', empty: '' },
      ...(local && { secrets: ['test-one'], image: { registry: 'local' } })
    })
    t.equal(status, 200)
    t.match(headers.get('x-request-id'), /^req_/)
    t.match(body, {
      id: /^sb-/,
      status: 'running',
      name: 'full-1',
      volume: { name: 'full', mountPath: '/data' },
      workdir: '/data/deep/er',
      resources: { cpu: 1.5, memoryMiB: 1024, gpu: null, usdPerHour: local ? null : Number },
      tags: { team: 'blue & green', empty: '' },
      exitCode: null
    })
    t.equal(Date.parse(body.expiresAt) - Date.parse(body.createdAt), 120_000)
    t.equal(await (await client.sandboxes.fromId(body.id)).poll(), null, 'Modal knows it')
    t.equal((await client.sandboxes.fromName(appName(accountIds.alice), 'full-1')).sandboxId, body.id, 'in the account\'s app')
    const seen = await run(body.id, 'pwd; printf %s "$GREETING"; echo; echo "$ONE"')
    t.equal(seen, `/data/deep/er\nhello "you"\n$HOME\n${local ? '1' : ''}\n`)

    const { body: details } = await request(`${path}/${body.id}`)
    t.strictSame(details, { ...body, activeRun: null }, 'get answers the same (6.5)')
    await end(body.id)
  })

  await t.test('Without anything asked for there is a place to work, and the answer says where', async (t) => {
    const { id, workdir, volume, name } = await created()
    t.match({ workdir, volume, name }, { workdir: '/workspace', volume: null, name: null })
    t.equal(await run(id, 'touch x && pwd'), '/workspace\n')
    await end(id)
  })

  await t.test('Dockerfile commands really make the image (1.1)', async (t) => {
    const { id } = await created({
      image: {
        registry: local ? 'local' : 'debian:12-slim',
        dockerfileCommands: ['ENV MADE=by-env', `RUN echo ${randomId('layer')} > /opt/made`, 'RUN test -s /opt/made']
      }
    })
    t.match(await run(id, 'cat /opt/made; echo $MADE'), /^layer_\w+\nby-env\n$/)
    await end(id)
  })

  await t.test('A volume keeps its files from one sandbox to the next; app and volume are reused (1.2, 5.6, 8.4)', async (t) => {
    const volume = { name: 'kept' }
    const first = await created({ volume })
    await run(first.id, 'mkdir -p a && echo kept > a/b.txt')
    const { body } = await end(first.id)
    t.match(body, { id: first.id, status: 'terminated', released: { sandbox: true, keptVolume: 'kept' } })
    t.match(body.steps, [{ step: 'runs', ok: true }, { step: 'stop', ok: true }, { step: 'terminate', ok: true }])
    const second = await created({ volume })
    t.equal(await run(second.id, 'cat a/b.txt'), 'kept\n')
    t.match(await client.volumes.fromName(volumeName(accountIds.alice, 'kept')), { volumeId: String })
    const foreign = await created({ volume }, { as: 'bob' })
    const { body: listing } = await request(`${path}/${foreign.id}/exec`, {
      method: 'POST', as: 'bob', json: { command: ['ls', '-A'] }, headers: { accept: 'application/json' }
    })
    t.equal(listing.stdout, '', 'another account\'s volume of that name is another volume (6.3)')
    await Promise.all([end(second.id), end(foreign.id, { as: 'bob' })])
    await client.volumes.delete(volumeName(accountIds.bob, 'kept'))
  })

  await t.test('Secrets are the account\'s or refused, before anything is made', async (t) => {
    const forbidden = await create({ secrets: ['other'] })
    t.match(forbidden, { status: 403, body: { code: 'FORBIDDEN', step: 'policy', message: /other/ } })
    const registry = await create({ image: { registry: 'x', registrySecret: 'other' } })
    t.match(registry, { status: 403, body: { message: /other/ } })
    const unknown = await create({ secrets: ['test-none'] })
    t.match(unknown, { status: 404, body: { code: 'SECRET_NOT_FOUND', step: 'secrets', message: /test-none/ } })
    const stream = await service.request(path, {
      method: 'POST', json: { secrets: ['other'] }, headers: { accept: 'text/event-stream' }
    })
    t.equal(stream.status, 403, 'a stream that can not begin is a plain error')
    t.equal((await stream.json() as any).code, 'FORBIDDEN')
  })

  await t.test('An image that can not be built is told with its step and reason (1.6, 8.10)', async (t) => {
    const tag = await create({ image: { registry: 'modal-sandbox-tests.invalid/none:1' } })
    t.match(tag, { status: 422, body: { code: 'IMAGE_BUILD_FAILED', step: 'image', message: /modal-sandbox-tests/ } })
    const failing = await create({
      image: { registry: local ? 'local' : 'debian:12-slim', dockerfileCommands: ['RUN echo why >&2; exit 7'] }
    })
    t.match(failing, { status: 422, body: { code: 'IMAGE_BUILD_FAILED', step: 'image' } })
    const copy = await create({ image: { registry: 'local', dockerfileCommands: ['COPY . /x'] } })
    t.match(copy, { status: 422, body: { step: 'image', message: /COPY/ } })
    t.notMatch(JSON.stringify([tag.body, failing.body, copy.body]), /node_modules|\/work\/|at async/, 'no stack (10.7)')
  })

  await t.test('A working directory that can not be made is told, and its sandbox is ended again (1.6)', async (t) => {
    const { status, body } = await create({ workdir: '/etc/passwd/x', name: 'undone' })
    t.match({ status, body }, { status: 422, body: { code: 'INVALID_SANDBOX', step: 'workdir', message: /body\.workdir/ } })
    await t.rejects(client.sandboxes.fromName(appName(accountIds.alice), 'undone'))
  })

  await t.test('Every bad input is refused by the name of its field (6.8)', async (t) => {
    const many = (count: number) => Array.from({ length: count }, (_, index) => `x${index}`)
    const cases: [Record<string, unknown> | unknown[], RegExp][] = [
      [[], /^body must be object/],
      [{ s3: { bucket: 'x' } }, /^body\.s3\.bucket must match/],
      [{ image: 'debian' }, /^body\.image must be object/],
      [{ image: {} }, /^body\.image\.registry is required/],
      [{ image: { registry: '--x' } }, /^body\.image\.registry /],
      [{ image: { registry: 'x\nRUN y' } }, /^body\.image\.registry /],
      [{ image: { registry: 'x', dockerfileCommands: [] } }, /^body\.image\.dockerfileCommands /],
      [{ image: { registry: 'x', dockerfileCommands: [''] } }, /^body\.image\.dockerfileCommands\.0 /],
      [{ image: { registry: 'x', tag: 'y' } }, /^body\.image\.tag is not a known field/],
      [{ volume: {} }, /^body\.volume\.name is required/],
      [{ volume: { name: '../x' } }, /^body\.volume\.name /],
      [{ volume: { name: 'x'.repeat(33) } }, /^body\.volume\.name /],
      [{ volume: { name: 'x', mountPath: 'relative' } }, /^body\.volume\.mountPath /],
      [{ volume: { name: 'x', mountPath: '/a/..' } }, /^body\.volume\.mountPath /],
      [{ env: { '1A': 'x' } }, /^body\.env\.1A is not an allowed name: it must match \^\[A-Za-z_\]/],
      [{ env: { A: 1 } }, /^body\.env\.A must be string/],
      [{ secrets: 'x' }, /^body\.secrets must be array/],
      [{ secrets: ['x', 'x'] }, /^body\.secrets /],
      [{ secrets: many(21) }, /^body\.secrets /],
      [{ workdir: 'x' }, /^body\.workdir /],
      [{ workdir: '/x\ny' }, /^body\.workdir /],
      [{ workdir: '/proc' }, /^body\.workdir cannot be \/proc/],
      [{ volume: { name: 'x', mountPath: '/usr' } }, /^body\.volume\.mountPath cannot be \/usr/],
      [{ timeoutMs: 1500 }, /^body\.timeoutMs /],
      [{ timeoutMs: 0 }, /^body\.timeoutMs /],
      [{ timeoutMs: 90_000_000 }, /^body\.timeoutMs /],
      [{ timeoutMs: '60000' }, /^body\.timeoutMs must be integer/],
      [{ idleTimeoutMs: 1 }, /^body\.idleTimeoutMs /],
      [{ cpu: 0 }, /^body\.cpu /],
      [{ memoryMiB: 1.5 }, /^body\.memoryMiB /],
      [{ gpu: 'a b' }, /^body\.gpu /],
      [{ network: { block: true, cidrAllowlist: ['10.0.0.0/8'] } }, /^body\.network\.cidrAllowlist /],
      [{ network: { block: true, domainAllowlist: [] } }, /^body\.network\.domainAllowlist /],
      [{ network: { cidrAllowlist: ['10.0.0.0'] } }, /^body\.network\.cidrAllowlist\.0 /],
      [{ network: { domainAllowlist: ['http://x'] } }, /^body\.network\.domainAllowlist\.0 /],
      [{ name: 'a.b' }, /^body\.name /],
      [{ name: 'x'.repeat(64) }, /^body\.name /],
      [{ tags: { 'a.b': 'x' } }, /^body\.tags\.a\.b is not/],
      [{ tags: { a: 'x'.repeat(101) } }, /^body\.tags\.a /],
      [{ tags: Object.fromEntries(many(11).map((name) => [name, ''])) }, /^body\.tags /]
    ]
    for (const [json, message] of cases) {
      const { status, body } = await request(path, { method: 'POST', json })
      t.match({ status, body }, { status: 400, body: { code: 'BAD_REQUEST', message } }, JSON.stringify(json).slice(0, 80))
    }
    const key = { 'idempotency-key': 'x'.repeat(201) }
    t.match(await create({}, { headers: key }), { status: 400, body: { message: /idempotency-key/ } })
    for (const query of ['limit=0', 'limit=101', 'limit=x', 'cursor=abc', 'tag=nocolon', 'color=red']) {
      const { status, body } = await request(`${path}?${query}`)
      t.match({ status, body }, { status: 400, body: { message: new RegExp(query.split('=')[0]!) } }, query)
    }
  })

  await t.test('An Idempotency-Key makes one sandbox, whatever happens in between', async (t) => {
    const headers = { 'idempotency-key': randomId('order') }
    const json = { tags: { a: '1', b: '2' } }
    const [one, two] = await Promise.all([created(json, { headers }), created({ tags: { b: '2', a: '1' } }, { headers })])
    t.strictSame(one, two, 'two at once are one')
    t.strictSame(await created(json, { headers }), one)
    t.match(await create({}, { headers }), { status: 409, body: { code: 'IDEMPOTENCY_KEY_REUSED' } })
    t.match(await create({ name: 'other' }, { headers }), { status: 409, body: { code: 'IDEMPOTENCY_KEY_REUSED' } })
    const foreign = await created(json, { headers, as: 'bob' })
    t.not(foreign.id, one.id, 'keys are the account\'s own')
    await Promise.all([end(one.id), end(foreign.id, { as: 'bob' })])
    t.match(await created(json, { headers }), { id: one.id, status: 'terminated', exitCode: 137 }, 'ended, and not made again')
  })

  await t.test('A name belongs to one running sandbox; with the same key it is answered again', async (t) => {
    const headers = { 'idempotency-key': randomId('order') }
    const json = { name: 'unique' }
    const first = await created(json, { headers })
    t.match(await create(json), { status: 409, body: { code: 'SANDBOX_NAME_TAKEN', step: 'create' } })
    t.equal((await created(json, { headers })).id, first.id)
    t.match(await create({ name: 'another' }, { headers }), { status: 409, body: { code: 'IDEMPOTENCY_KEY_REUSED' } })
    const foreign = await created(json, { as: 'bob' })
    t.not(foreign.id, first.id)
    await Promise.all([end(first.id), end(foreign.id, { as: 'bob' })])
    const next = await created(json)
    t.not(next.id, first.id, 'free again')
    await end(next.id)
  })

  await t.test('A create whose answer was lost is found again, not leaked (1.6)', async (t) => {
    let lost = 0
    const loseAnswer: ClientMiddleware = async function * (call, options) {
      const answer = yield * call.next(call.request, options)
      if (!/SandboxCreate(V2)?$/.test(call.method.path) || lost++ > 0) return answer
      throw new ClientError(call.method.path, Status.INTERNAL, 'the answer was lost')
    }
    const { tokenId, tokenSecret, serverUrl } = client.profile
    const unlucky = withModalServer(serverUrl, () => new ModalClient({
      tokenId: tokenId!, tokenSecret: tokenSecret!, logger: silent, grpcMiddleware: [loseAnswer]
    }))
    const sandboxes = new SandboxService({
      client: unlucky,
      log: silent,
      image: { backend, claudeVersion: '1.0.0', claudeRegistry: 'http://registry.invalid' },
      timeouts: service.config.sandbox,
      deployment: 'test'
    })
    const alice = await service.app.accounts.authenticate(keys.alice)
    const found = await sandboxes.create(alice, { volume: { name: 'kept' } })
    service.remember(found.id)
    t.equal(lost, 1, 'it happened')
    t.match((await request(`${path}/${found.id}`)).body, { id: found.id, status: 'running' }, 'every replica sees it')
    await sandboxes.terminate(alice, found.id)
    unlucky.close()
  })

  await t.test('The list has the account\'s running ones, in pages, and by tag', async (t) => {
    t.strictSame((await request(path, { as: 'bob' })).body, { sandboxes: [], nextCursor: null })
    const all = []
    for (const n of ['1', '2', '3']) all.push(await created({ tags: { n, kind: n === '2' ? 'even' : 'odd' } }))
    const ended = await created({ tags: { kind: 'odd' } })
    await end(ended.id)
    const newest = all.toReversed()
    const { body: whole } = await request(path)
    t.strictSame(whole, { sandboxes: newest, nextCursor: null })
    const { body: first } = await request(`${path}?limit=2`)
    t.strictSame(first.sandboxes, newest.slice(0, 2))
    const { body: second } = await request(`${path}?limit=2&cursor=${first.nextCursor}`)
    t.strictSame(second, { sandboxes: newest.slice(2), nextCursor: null })
    t.strictSame((await request(`${path}?tag=kind:odd`)).body.sandboxes, [newest[0], newest[2]])
    t.strictSame((await request(`${path}?tag=kind:odd&tag=n:3`)).body.sandboxes, [newest[0]])
    t.strictSame((await request(`${path}?tag=kind:odd&tag=kind:even`)).body.sandboxes, [])
    t.strictSame((await request(path, { as: 'bob' })).body.sandboxes, [])
    await Promise.all(all.map(({ id }) => end(id)))
  })

  await t.test('Missing, malformed and foreign sandboxes are the same 404 on every route (6.3, 6.10)', async (t) => {
    const { id } = await created({}, { as: 'bob' })
    const answers = []
    for (const other of [id, missing, 'sb-1', 'x', '%2e%2e%2f']) {
      for (const [suffix, options] of [
        ['', {}], ['', { method: 'DELETE' }], ['/exec', { method: 'POST', json: { command: ['true'] } }]
      ] as const) {
        const { status, body } = await request(`${path}/${other}${suffix}`, options)
        answers.push({ status, ...body, requestId: null })
      }
    }
    t.equal(new Set(answers.map((answer) => JSON.stringify(answer))).size, 1, JSON.stringify(answers[0]))
    t.match(answers[0], { status: 404, code: 'SANDBOX_NOT_FOUND' })
    t.match((await request(`${path}/${id}`, { as: 'bob' })).body, { status: 'running' }, 'and nothing happened to it')
    t.match(await request(path, { as: null }), { status: 401, body: { code: 'UNAUTHENTICATED' } })
    await end(id, { as: 'bob' })
  })

  await t.test('Terminating asks processes to stop, ends all, and may be repeated (5.1-5.3, 6.4)', async (t) => {
    const { id } = await created({ volume: { name: 'kept' } })
    await run(id, 'rm -f stopped ready; (trap "echo gracefully > stopped; exit" TERM; touch ready; while :; do sleep 0.1; done) >/dev/null 2>&1 &' +
      ' while [ ! -e ready ]; do sleep 0.1; done')
    const { status, body } = await end(id)
    t.match({ status, body }, { status: 200, body: { id, status: 'terminated', exitCode: 137, released: { sandbox: true } } })
    t.equal(await (await client.sandboxes.fromId(id)).poll(), 137, 'Modal says so, too')
    const again = await end(id)
    t.match(again, { status: 200, body: { id, status: 'terminated', exitCode: 137, steps: { length: 0 }, released: { sandbox: false } } })
    t.match((await request(`${path}/${id}`)).body, { status: 'terminated', exitCode: 137 })
    const next = await created({ volume: { name: 'kept' } })
    t.equal(await run(next.id, 'cat stopped'), 'gracefully\n')
    await end(next.id)
  })

  await t.test('A terminate that fails says how far it came, and what failed before does not stop it (5.5, 10.6)', async (t) => {
    const alice = await service.app.accounts.authenticate(keys.alice)
    const { id } = await created()
    const answer = await service.app.sandboxes.terminate(alice, id, {
      stop: () => ({ runs: Promise.reject(new Error('an inner secret')), all: Promise.resolve() })
    })
    t.match(answer, {
      status: 'terminated',
      steps: [{ step: 'runs', ok: false }, { step: 'stop', ok: true }, { step: 'terminate', ok: true }]
    })
    t.notMatch(JSON.stringify(answer), /inner secret/)

    const stuck = await created()
    const { sandbox } = await service.app.sandboxes.open(alice, stuck.id)
    const terminate = sandbox.terminate
    sandbox.terminate = async () => { throw new ClientError('/x', Status.UNAVAILABLE, 'gone') }
    t.match(await end(stuck.id), {
      status: 503, body: { code: 'MODAL_UNAVAILABLE', step: 'terminate', steps: [{}, { step: 'stop', ok: true }, { step: 'terminate', ok: false }] }
    })
    sandbox.terminate = terminate
    t.match(await end(stuck.id), { status: 200 })
  })

  await t.test('As a stream a create tells its steps and the build log (6.1, 10.4)', async (t) => {
    const response = await service.request(path, {
      method: 'POST',
      headers: { accept: 'text/event-stream' },
      json: {
        volume: { name: 'kept' },
        image: { registry: local ? 'local' : 'debian:12-slim', dockerfileCommands: [`RUN echo built-${randomId('b')}`] }
      }
    })
    t.equal(response.status, 200)
    const events = []
    for await (const { event, data } of readSse(response)) if (event !== 'heartbeat') events.push({ event, data })
    const done = events.filter(({ event, data }) => event === 'step' && data.status === 'done').map(({ data }) => data.step)
    t.strictSame(new Set(done), new Set(['app', 'volume', 'limits', 'image', 'create', 'workdir', 'ready']))
    t.match(events.filter(({ event }) => event === 'log').map(({ data }) => data.text).join(''), /built-b_/)
    t.match(events.at(-1), { event: 'sandbox', data: { id: /^sb-/, status: 'running' } })
    service.remember(events.at(-1)!.data.id)
    await end(events.at(-1)!.data.id)

    const failing = await service.request(path, {
      method: 'POST',
      headers: { accept: 'text/event-stream' },
      json: { image: { registry: local ? 'local' : 'debian:12-slim', dockerfileCommands: ['RUN exit 3'] } }
    })
    let last
    for await (const { event, data } of readSse(failing)) last = { event, data }
    t.match(last, { event: 'error', data: { code: 'IMAGE_BUILD_FAILED', step: 'image', requestId: /^req_/ } })
  })

  await t.test('A client that leaves during a create finds its sandbox in the list', async (t) => {
    const left = new AbortController()
    const response = await service.request(path, {
      method: 'POST', json: { name: 'left' }, headers: { accept: 'text/event-stream' }, signal: left.signal
    })
    await response.body!.getReader().read()
    left.abort()
    let found
    for (let tries = 0; tries < 100 && found === undefined; tries++) {
      await sleep(100)
      found = (await request(path)).body.sandboxes.find(({ name }: { name: string }) => name === 'left')
    }
    t.match(found, { id: /^sb-/, status: 'running' })
    service.remember(found.id)
    await end(found.id)
  })

  await t.test('An account has as many running sandboxes as it may, also when they are asked for at once', async (t) => {
    const bob = await service.app.accounts.authenticate(keys.bob)
    const limited = { ...bob, limits: { ...bob.limits, sandboxes: 2 } }
    const make = async () => await service.app.sandboxes.create(limited, {}).catch((error: AppError) => error)
    const answers = await Promise.all([make(), make(), make(), make()])
    const refused = answers.filter((answer) => answer instanceof AppError)
    const made = answers.filter((answer) => !(answer instanceof AppError)) as { id: string }[]
    t.match(refused, Array(2).fill({ code: 'LIMIT_REACHED', step: 'limits', message: /2 running/, statusCode: 429 }))
    t.equal(made.length, 2)
    t.match(await make(), { code: 'LIMIT_REACHED' })
    await end(made[0]!.id, { as: 'bob' })
    const next = await make() as { id: string }
    t.match(next.id, /^sb-/, 'there is room again')
    await Promise.all([end(made[1]!.id, { as: 'bob' }), end(next.id, { as: 'bob' })])
  })

  await t.test("An account's limits are refusals of their own, by name, and the SDK does not wait for ever", async (t) => {
    for (const [body, refusal] of [
      [{ cpu: 64 }, { limit: 'cpu', asked: 64, allowed: 4 }],
      [{ memoryMiB: 344_064 }, { limit: 'memoryMiB', asked: 344_064, allowed: 16_384 }],
      [{ gpu: 'H100:8' }, { limit: 'gpus', asked: 'H100:8', allowed: [] }],
      [{ timeoutMs: 86_400_000 }, { limit: 'timeoutMs', asked: 86_400_000, allowed: 28_800_000 }],
      [{ idleTimeoutMs: 86_400_000 }, { limit: 'idleTimeoutMs', asked: 86_400_000, allowed: 3_600_000 }]
    ] as const) {
      t.match(await create(body), { status: 403, body: { code: 'FORBIDDEN', step: 'policy', hint: /operator/, ...refusal } })
    }
    t.ok(client.profile.maxThrottleWaitSecs! > 0 && client.profile.maxThrottleWaitSecs! < 30)
  })

  if (local) {
    await t.test('What the place can not do is refused in its own words (10.6)', async (t) => {
      const alice = await service.app.accounts.authenticate(keys.alice)
      const rich = { ...alice, limits: { ...alice.limits, gpus: ['T4'] } }
      await t.rejects(service.app.sandboxes.create(rich, { gpu: 'T4' }), { code: 'NOT_SUPPORTED', step: 'create', message: /GPU/i })
      t.match(await create({ network: { domainAllowlist: ['example.com'] } }), { status: 422, body: { step: 'create', message: /allow/i } })
      const { id } = await created({ network: { block: true } })
      t.equal(await run(id, 'cat /proc/net/dev | grep -v lo: | grep -c :'), '0\n')
      const refused = await request(`${path}/${id}/claude`, { method: 'POST', json: { prompt: 'hello' } })
      t.match(refused, { status: 400, body: { code: 'NETWORK_BLOCKED', message: /network\.block/ } })
      await end(id)
    })

    await t.test('A sandbox that ends by itself is told from one that was ended (5.7)', async (t) => {
      const { id } = await created({ timeoutMs: 2000 })
      let body
      for (let tries = 0; tries < 60 && body?.status !== 'terminated'; tries++) {
        await sleep(200)
        body = (await request(`${path}/${id}`)).body
      }
      t.match(body, { status: 'terminated', exitCode: 124 }, 'its lifetime was over')
    })

    await t.test('A wrong token and a Modal that is away are told in seconds, in plain words (8.10, 10.6, 10.7)', async (t) => {
      const closed = createServer().listen(0, '127.0.0.1')
      await once(closed, 'listening')
      const { port } = closed.address() as AddressInfo
      closed.close()
      for (const [url, expected] of [
        [client.profile.serverUrl, { status: 502, code: 'MODAL_UNAUTHORIZED' }],
        [`http://127.0.0.1:${port}`, { status: 503, code: 'MODAL_UNAVAILABLE' }]
      ] as const) {
        const elsewhere = await startService({
          MODAL_TOKEN_ID: 'ak-wrong', MODAL_TOKEN_SECRET: 'as-wrong', MODAL_SERVER_URL: url
        })
        const started = Date.now()
        for (const [to, options] of [
          [path, { method: 'POST', json: {} }], [path, {}], [`${path}/${missing}`, {}]
        ] as const) {
          const response = await elsewhere.request(to, options)
          const body = await response.json() as any
          t.match({ status: response.status, ...body }, expected, `${expected.code} ${to}`)
          t.notMatch(JSON.stringify(body), /127\.0\.0\.1|ECONN|as-wrong|\.ts/)
        }
        t.ok(Date.now() - started < 20_000)
        await elsewhere.close()
      }
    })
  }

  await t.test('Nothing is left', async (t) => {
    t.strictSame((await request(path)).body.sandboxes, [])
    for (const name of volumes) await client.volumes.delete(volumeName(accountIds.alice, name)).catch(() => {})
  })
})
