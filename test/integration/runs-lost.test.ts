import { setTimeout as sleep } from 'node:timers/promises'
import t, { type Test } from 'tap'
import type { AppError } from '../../errors.js'
import type { Account } from '../../schemas/account.js'
import type { RunSpec } from '../../schemas/run.js'
import type { Run } from '../../services/runs/run.js'
import { RunService } from '../../services/runs/service.js'
import { execMarker } from '../../services/sandboxes/kill.js'
import type { OwnedSandbox } from '../../services/sandboxes/owned.js'
import { readSse, skip, startService, type ReceivedEvent, type Service } from '../helpers/service.js'

const log = { info () {}, warn () {}, error () {} }
const result = 'echo \'{"type":"result","is_error":false,"session_id":"s-1"}\''
const timeouts = { disconnectGraceMs: 60_000, timeoutMs: 120_000 }

t.test('Runs that lose what they stand on, and replicas that share a sandbox', { skip }, async (t) => {
  const service = await startService({ RUN_DISCONNECT_GRACE_MS: '1500' })
  t.teardown(service.close)
  const { modal, sandboxes } = service.app
  const account = service.config.accounts![0] as Account
  const id = await create(service)
  const owned = await sandboxes.open(account, id)
  const replica = () => new RunService({ client: modal.client, log, model: { env: modal.modelEnv }, timeouts })
  const one = replica()
  const other = replica()

  await t.test('A place in the sandbox is taken once, also by replicas, and told with its run', async (t) => {
    await claude(service, id, 'sleep 4343')
    const starts = await Promise.allSettled([
      one.start(account, owned, { prompt: 'x' }), other.start(account, owned, { prompt: 'x' })
    ])
    const run = starts.find((start) => start.status === 'fulfilled')!.value
    const refused = starts.filter((start) => start.status === 'rejected').map(({ reason }) => reason as AppError)
    t.match(refused, [{ code: 'RUN_ACTIVE' }], 'one of two at the same time')
    for (const runs of [one, other]) {
      await t.rejects(runs.start(account, owned, { prompt: 'x' }), { code: 'RUN_ACTIVE', details: { runId: run.id } })
    }
    const late = await service.request(`/api/modal/sandbox/${id}/claude`, { method: 'POST', json: { prompt: 'x' } })
    t.match(await late.json(), { statusCode: 409, code: 'RUN_ACTIVE', runId: run.id })
    await one.close()
    await other.close()
    t.match(await run.finished, { outcome: 'cancelled' }, 'a service that ends takes its runs with it')
  })

  await t.test('A place whose run is dead is free, and only one takes it over', async (t) => {
    await claude(service, id, 'kill -KILL $PPID; sleep 1')
    t.match(await (await one.start(account, owned, { prompt: 'x' })).finished, { outcome: 'signal', exitCode: 137 }, 'its runner died')
    t.match(await exec(service, id, 'readlink /tmp/.modal-sandbox/active'), /^run_/, 'and left its lock')
    await claude(service, id, `sleep 1; ${result}`)
    const starts = await Promise.allSettled([one, other, replica()].map((runs) => runs.start(account, owned, { prompt: 'x' })))
    const started = starts.filter((start) => start.status === 'fulfilled')
    t.equal(started.length, 1)
    t.match(await started[0]!.value.finished, { outcome: 'result' })
    t.equal(await exec(service, id, 'ls /tmp/.modal-sandbox/active 2>/dev/null'), '', 'an end gives the place back')
  })

  await t.test('A start that fails gives the place back', async (t) => {
    const broken = withExec(owned, (start, command, params) => {
      if (params?.pty) throw new Error('no exec today')
      return start(command, params)
    })
    await t.rejects(one.start(account, broken, { prompt: 'x' }), { code: 'MODAL_ERROR', step: 'start Claude' })
    t.match(await (await one.start(account, owned, { prompt: 'x' })).finished, { outcome: 'result' })
    const unnamed = new RunService({ client: modal.client, log, model: { env: {}, secretName: 'not-there' }, timeouts })
    await t.rejects(unnamed.start(account, owned, { prompt: 'x' }), { code: 'CLAUDE_FAILED', step: 'model secret' })
    const poor: Account = { ...account, limits: { ...account.limits, runs: 0 } }
    await t.rejects(one.start(poor, owned, { prompt: 'x' }), { code: 'LIMIT_REACHED', details: { limit: 0 } })
  })

  await t.test('When the stream breaks for good, the process is ended and the run says stream_lost', async (t) => {
    await claude(service, id, 'echo \'{"type":"system","session_id":"s-2"}\'; sleep 4343')
    const breaking = withExec(owned, async (start, command, params) => {
      const process = await start(command, params)
      return params?.pty ? Object.defineProperty(process, 'stdout', { value: breakAfterFirst(process.stdout) }) : process
    })
    const run = await one.start(account, breaking, { prompt: 'x' })
    t.match(await run.finished, { outcome: 'stream_lost', isError: true, sessionId: 's-2' })
    const events = eventsOf(run)
    t.strictSame(events.map(({ event }) => event), ['run.started', 'claude', 'error', 'run.completed'])
    t.match(events[2]!.data, { code: 'CLAUDE_FAILED', statusCode: 502 })
    t.equal(await marked(service, id, run), '0', 'nothing of it is alive')
  })

  await t.test('Output that is faster than its reading arrives to its end', async (t) => {
    const line = `{"type":"x","text":"${'y'.repeat(1000)}"}`
    await claude(service, id, `i=0; while [ $i -lt 200 ]; do printf '%s\\n' '${line}'; i=$((i+1)); done > /tmp/lines
      i=0; while [ $i -lt 100 ]; do cat /tmp/lines; i=$((i+1)); done; ${result}`)
    const run = await one.start(account, owned, { prompt: 'x' })
    let count = 0
    for await (const batch of run.log.read(0, new AbortController().signal)) {
      for (const { event, json } of batch) if (event === 'claude' && json.length > 1000) count++
    }
    t.match(await run.finished, { outcome: 'result' })
    t.equal(count, 20_000, '20 MB, every line')
  })

  await t.test('What the sandbox forges can not hurt the service', async (t) => {
    await claude(service, id, 'echo \'{"type":"result","is_error":false,"usage":[],"model_usage_since_last_result":{"a":null},"session_id":7}\'')
    const received = await post(service, id, { prompt: 'x' })
    t.match(received.at(-1), { event: 'run.completed', data: { outcome: 'result', usage: null, costUsd: 0 } })
    t.equal((await service.request(`/api/modal/sandbox/${id}/claude`)).status, 200)
  })

  await t.test('A prompt of 1 MB arrives byte by byte', async (t) => {
    await claude(service, id, `cat | cksum; ${result}`)
    const prompt = 'ü@$(x)`\\"\n'.repeat(1_048_576 / 11 | 0)
    const received = await post(service, id, { prompt })
    const size = Buffer.byteLength(prompt)
    t.ok(size > 1_000_000)
    t.match(received.find(({ event }) => event === 'output')?.data.text, new RegExp(` ${size + 1}\n`))
  })

  await t.test('Who asks for pages keeps a run going as any reader does', async (t) => {
    await claude(service, id, `sleep 5; ${result}`)
    const path = `/api/modal/sandbox/${id}/claude`
    const accepted = await service.request(path, { method: 'POST', json: { prompt: 'x' }, headers: { accept: 'application/json' } })
    t.equal(accepted.status, 202)
    const { runId } = await accepted.json() as { runId: string }
    const events: ReceivedEvent[] = []
    for (let next = 0, done = false; !done; await sleep(300)) {
      const page: any = await (await service.request(`${path}/${runId}/events?after=${next}`, { headers: { accept: 'application/json' } })).json()
      events.push(...page.events);
      ({ next, done } = page)
    }
    t.match(events.at(-1), { event: 'run.completed', data: { outcome: 'result' } })
  })

  await t.test('When the sandbox ends under a run, the run says so', async (t) => {
    await claude(service, id, 'echo started; sleep 4343')
    const run = await one.start(account, owned, { prompt: 'x' })
    for await (const batch of run.log.read(0, new AbortController().signal)) if (batch.some(({ event }) => event === 'output')) break
    await (await modal.client.sandboxes.fromId(id)).terminate({ wait: true })
    t.match(await run.finished, { outcome: 'sandbox_lost', isError: true })
    t.equal(eventsOf(run).at(-1)!.event, 'run.completed')
    await t.resolves(one.cancel(run), 'cancelling what has ended is no mistake')
    t.match(await late(t, service, id), { statusCode: 409, code: 'SANDBOX_ENDED' })
  })
})

async function create (service: Service): Promise<string> {
  const response = await service.request('/api/modal/sandbox', {
    method: 'POST', json: { env: { PATH: '/workspace/bin:/usr/local/bin:/usr/bin:/bin' } }
  })
  return (await response.json() as { id: string }).id
}

/** Puts a program in Claude's place. */
async function claude (service: Service, id: string, script: string) {
  const install = 'mkdir -p bin && cat > bin/claude && chmod +x bin/claude'
  await exec(service, id, install, `#!/bin/sh\n${script}\n`)
}

async function exec (service: Service, id: string, script: string, stdin = ''): Promise<string> {
  const response = await service.request(`/api/modal/sandbox/${id}/exec`, {
    method: 'POST', json: { command: ['sh', '-c', script], stdin }, headers: { accept: 'application/json' }
  })
  return (await response.json() as { stdout: string }).stdout
}

async function post (service: Service, id: string, json: RunSpec): Promise<ReceivedEvent[]> {
  const response = await service.request(`/api/modal/sandbox/${id}/claude`, { method: 'POST', json })
  const events: ReceivedEvent[] = []
  for await (const event of readSse(response)) events.push(event)
  return events
}

async function late (t: Test, service: Service, id: string): Promise<unknown> {
  const response = await service.request(`/api/modal/sandbox/${id}/claude`, { method: 'POST', json: { prompt: 'x' } })
  t.equal(response.status, 409)
  return await response.json()
}

function eventsOf (run: Run) {
  return run.log.take(0).map(({ event, json }) => ({ event, data: JSON.parse(json) }))
}

/** How many processes of a run there are. */
async function marked (service: Service, id: string, run: Run): Promise<string> {
  return (await exec(service, id, `grep -lF ${execMarker}=${run.id} /proc/[0-9]*/environ 2>/dev/null | wc -l`)).trim()
}

type Exec = OwnedSandbox['sandbox']['exec']

/** A sandbox whose exec goes through `change`; everything else is the real one's. */
function withExec (owned: OwnedSandbox, change: (start: Exec, ...args: Parameters<Exec>) => unknown): OwnedSandbox {
  const sandbox = new Proxy(owned.sandbox, {
    get (target, name) {
      const start = target.exec.bind(target) as Exec
      if (name === 'exec') return async (...args: Parameters<Exec>) => await change(start, ...args)
      const value = Reflect.get(target, name, target)
      return typeof value === 'function' ? value.bind(target) : value
    }
  })
  return { ...owned, sandbox }
}

function breakAfterFirst (stream: ReadableStream<unknown>): ReadableStream<unknown> {
  const reader = stream.getReader()
  let first = true
  return new ReadableStream({
    async pull (controller) {
      if (!first) return controller.error(new Error('connection reset'))
      first = false
      controller.enqueue((await reader.read()).value)
    }
  }, { highWaterMark: 0 })
}
