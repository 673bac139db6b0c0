import { setTimeout as sleep } from 'node:timers/promises'
import t, { type Test } from 'tap'
import type { AppError } from '../../errors.js'
import type { Account } from '../../schemas/account.js'
import type { RunSpec } from '../../schemas/run.js'
import { execMarker } from '../../services/modal/process.js'
import type { RunEvent } from '../../services/runs/event-buffer.js'
import { directoryOf, logOf, stateOf } from '../../services/runs/run-directory.js'
import type { Run } from '../../services/runs/run.js'
import { RunService } from '../../services/runs/service.js'
import type { OwnedSandbox } from '../../services/sandboxes/owned.js'
import { decodeTags } from '../../services/sandboxes/tags.js'
import { readSse, skip, startService, type ReceivedEvent, type Service } from '../helpers/service.js'

const log = { info () {}, warn () {}, error () {} }
const result = 'echo \'{"type":"result","is_error":false,"session_id":"s-1"}\''
const ownerOf = (tags: Record<string, string>) => decodeTags(tags)?.owner
const timeouts = { disconnectGraceMs: 60_000, timeoutMs: 120_000, permissionMs: 600_000 }

t.test('Runs that lose what they stand on, and replicas that share a sandbox', { skip }, async (t) => {
  const service = await startService({ RUN_DISCONNECT_GRACE_MS: '1500' })
  t.teardown(service.close)
  const { modal, sandboxes } = service.app
  const account = service.config.accounts![0] as Account
  const id = await create(service)
  const owned = await sandboxes.open(account, id)
  const replica = (more: object = {}) => {
    const limits = { ...timeouts, ...more }
    const model = { env: modal.modelEnv }
    const runs = new RunService({ client: modal.client, log, model, timeouts: limits, ownerOf })
    t.teardown(async () => { await runs.close() })
    return runs
  }
  const one = replica()
  const other = replica()
  const outlived = outlive(service)
  outlived.catch(() => {})

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
      t.match(await runs.active(owned), { runId: run.id })
    }
    const late = await service.request(`/api/modal/sandbox/${id}/claude`, { method: 'POST', json: { prompt: 'x' } })
    t.match(await late.json(), { statusCode: 409, code: 'RUN_ACTIVE', runId: run.id })
    await one.close()
    await other.close()
    t.match(run.completion, { outcome: 'cancelled' }, 'a service that ends takes its runs with it')
  })

  await t.test('Any replica reads a run of another from any position: the same events once, in order, under the same ids', async (t) => {
    await claude(service, id, `i=0; while [ $i -lt 60 ]; do echo "{\\"type\\":\\"n\\",\\"n\\":$i}"; i=$((i+1)); sleep 0.05; done; ${result}`)
    const run = await one.start(account, owned, { prompt: 'x' })
    const mine = read(run)
    await sleep(700)
    const seen = await other.get(owned, run.id)
    t.match(seen.view(), { status: 'running', runId: run.id, prompt: 'x' })
    const theirs = read(seen)
    const middle = seen.read(0, new AbortController().signal)
    const { id: position } = (await middle.next()).value![5]!
    await middle.return(undefined)
    const third = replica()
    const resumed = read(await third.get(owned, run.id), position)
    const all = await mine
    t.equal(all.filter(({ event }) => event === 'claude').length, 61)
    t.match(all.at(-1), { event: 'run.completed' })
    t.strictSame(await theirs, all)
    t.strictSame(await resumed, all.filter((event) => event.id > position))
    const late = await replica().get(owned, run.id)
    t.match(late.view(), { status: 'completed', completion: run.completion })
    t.strictSame(await read(late), all, 'and after its end')
    t.strictSame(await read(late, all.at(-1)!.id), [])
    t.strictSame(await pages(late), all, 'as pages, too')
    t.match((await replica().list(owned)).map((listed) => listed.view()), [{ runId: run.id, completion: { outcome: 'result' } }, { completion: { outcome: 'cancelled' } }])
  })

  await t.test('A replica cancels a run that another has started', async (t) => {
    await claude(service, id, "trap '' TERM INT; sleep 4343")
    const run = await one.start(account, owned, { prompt: 'x' })
    const mine = read(run)
    await other.cancel(await other.get(owned, run.id))
    t.equal(await marked(service, id, run), '0')
    t.match((await other.get(owned, run.id)).view(), { completion: { outcome: 'cancelled' } })
    t.match(JSON.parse((await mine).at(-1)!.json), { outcome: 'cancelled' })
    for (const wait of [0, 15, 40]) {
      const early = await one.start(account, owned, { prompt: 'x' })
      await sleep(wait)
      await other.cancel(await other.get(owned, early.id))
      t.equal(await marked(service, id, early), '0')
      t.match(JSON.parse((await read(early)).at(-1)!.json), { outcome: 'cancelled' }, `${wait} ms after its start`)
    }
  })

  await t.test('A reader at any replica keeps a run going, and without one it ends, whoever started it (4.6)', async (t) => {
    const short = replica({ disconnectGraceMs: 1000 })
    await claude(service, id, `sleep 8; ${result}`)
    const kept = await short.start(account, owned, { prompt: 'x' })
    const leaving = new AbortController()
    const reading = read(await other.get(owned, kept.id), 0, leaving.signal)
    t.match(JSON.parse((await reading).at(-1)!.json), { outcome: 'result' }, 'read by another replica only')
    // The replica that started it may learn of its end a moment later.
    await read(kept)
    const left = await short.start(account, owned, { prompt: 'x' })
    t.match(JSON.parse((await once(left)).json), { outcome: 'cancelled' })
  })

  await t.test('A place whose run is dead is free, and only one takes it over', async (t) => {
    await claude(service, id, 'kill -KILL $(cat /tmp/.modal-sandbox/$MODAL_SANDBOX_EXEC_ID/pid); sleep 4343')
    const dead = await one.start(account, owned, { prompt: 'x' })
    t.match(JSON.parse((await read(dead)).at(-1)!.json), { outcome: 'signal', exitCode: null }, 'its runner died')
    t.equal(await marked(service, id, dead), '0', 'and took Claude with it')
    t.match((await replica().get(owned, dead.id)).completion, { outcome: 'signal' }, 'for every replica')
    await claude(service, id, `sleep 1; ${result}`)
    const starts = await Promise.allSettled([one, other, replica()].map((runs) => runs.start(account, owned, { prompt: 'x' })))
    const started = starts.filter((start) => start.status === 'fulfilled')
    t.equal(started.length, 1)
    t.match(JSON.parse((await read(started[0]!.value)).at(-1)!.json), { outcome: 'result' })
    const state = '/tmp/.modal-sandbox'
    t.equal(await exec(service, id, `cat ${state}/$(readlink ${state}/run-lock/head)/exit`), '0\n', 'an end gives the lock back')
  })

  await t.test('A start that fails gives the place back', async (t) => {
    const broken = withExec(owned, (start, command, params) => {
      if (isRunner(command)) throw new Error('no exec today')
      return start(command, params)
    })
    await t.rejects(one.start(account, broken, { prompt: 'x' }), { code: 'MODAL_ERROR', step: 'start Claude' })
    t.match(JSON.parse((await read(await one.start(account, owned, { prompt: 'x' }))).at(-1)!.json), { outcome: 'result' })
    const late = withExec(owned, async (start, command, params) => {
      // Between the preparation of the run and its runner.
      const lock = '/tmp/.modal-sandbox/run-lock'
      const script = `ln -s run_other "${lock}/$(readlink ${lock}/head).next"; exec "$@"`
      const runner = command.findIndex((word) => word.endsWith('/runner.sh')) - 1
      const slow = isRunner(command) ? command.toSpliced(runner, 0, 'sh', '-c', script, 'late') : command
      return await start(slow, params)
    })
    const before = (await other.list(owned)).length
    await t.rejects(one.start(account, late, { prompt: 'x' }), { code: 'RUN_ACTIVE' }, 'another has taken over meanwhile')
    t.equal((await other.list(owned)).length, before, 'and there never was such a run')
    t.match(JSON.parse((await read(await one.start(account, owned, { prompt: 'x' }))).at(-1)!.json), { outcome: 'result' })
    const unnamed = new RunService({ client: modal.client, log, model: { env: {}, secretName: 'not-there' }, timeouts, ownerOf })
    await t.rejects(unnamed.start(account, owned, { prompt: 'x' }), { code: 'CLAUDE_FAILED', step: 'model secret' })
    const poor: Account = { ...account, limits: { ...account.limits, runs: 0 } }
    await t.rejects(one.start(poor, owned, { prompt: 'x' }), { code: 'LIMIT_REACHED', details: { limit: 0 } })
    const running = await one.start(account, owned, { prompt: 'x' })
    const single: Account = { ...account, limits: { ...account.limits, runs: 1 } }
    const another = { ...owned, id: 'sb-another' }
    await t.rejects(one.start(single, another, { prompt: 'x' }), { code: 'LIMIT_REACHED', details: { limit: 1 } })
    await read(running)
    const old = { ...owned, createdAt: '2026-01-01T00:00:00.000Z', expiresAt: new Date(Date.now() + 30_000).toISOString() }
    await t.rejects(one.start(account, old, { prompt: 'x' }), { code: 'SANDBOX_EXPIRING', details: { expiresAt: old.expiresAt } })
    const words = { prompt: 'x', appendSystemPrompt: "'".repeat(20_000) }
    await t.rejects(one.start(account, owned, words), { code: 'BAD_REQUEST' })
  })

  await t.test('When the stream breaks, the run is read on from the file, and no reader notices', async (t) => {
    await claude(service, id, `i=0; while [ $i -lt 40 ]; do echo "{\\"type\\":\\"n\\",\\"n\\":$i}"; i=$((i+1)); sleep 0.05; done; ${result}`)
    const breaking = withExec(owned, async (start, command, params) => {
      const process = await start(command, params)
      return isRunner(command) ? Object.defineProperty(process, 'stdout', { value: breakAfterFirst(process.stdout) }) : process
    })
    const run = await one.start(account, breaking, { prompt: 'x' })
    const all = await read(run)
    t.strictSame(all.map(({ event }) => event), ['run.started', ...new Array(41).fill('claude'), 'run.completed'])
    t.match(run.completion, { outcome: 'result' })
    t.strictSame(await read(await other.get(owned, run.id)), all)
  })

  await t.test('When its log is gone, too, the run is ended and says stream_lost', async (t) => {
    await claude(service, id, 'echo \'{"type":"system","session_id":"s-2"}\'; sleep 1; rm -rf .claude-sandbox/runs; sleep 4343')
    const breaking = withExec(owned, async (start, command, params) => {
      const process = await start(command, params)
      return isRunner(command) ? Object.defineProperty(process, 'stdout', { value: breakAfterFirst(process.stdout, 1500) }) : process
    })
    const run = await one.start(account, breaking, { prompt: 'x' })
    const all = await read(run)
    t.match(all.map(({ event }) => event).slice(-2), ['error', 'run.completed'])
    t.match(JSON.parse(all.at(-2)!.json), { code: 'RUN_NOT_FOUND', statusCode: 404 })
    t.match(run.completion, { outcome: 'stream_lost', isError: true })
    t.equal(await marked(service, id, run), '0', 'nothing of it is alive')
  })

  await t.test('Output that is faster than its reading arrives to its end, and a late reader gets what memory does not keep', async (t) => {
    const line = `{"type":"x","text":"${'y'.repeat(1000)}"}`
    await claude(service, id, `i=0; while [ $i -lt 200 ]; do printf '%s\\n' '${line}'; i=$((i+1)); done > /tmp/lines
      i=0; while [ $i -lt 100 ]; do cat /tmp/lines; i=$((i+1)); done; ${result}`)
    const run = await one.start(account, owned, { prompt: 'x' })
    const live = (await read(run)).map(({ id }) => id)
    t.equal(live.length, 20_003, '20 MB, every line')
    t.ok(run.bytes < 4_000_000, 'not all of it is kept')
    const late = (await read(run)).map(({ id, event }) => event === 'gap' ? event : id)
    t.strictSame(late, live)
  })

  await t.test('What the sandbox forges can not hurt the service', async (t) => {
    await claude(service, id, 'echo \'{"type":"result","is_error":false,"usage":[],"model_usage_since_last_result":{"a":null},"session_id":7}\'')
    const received = await post(service, id, { prompt: 'x' })
    t.match(received.at(-1), { event: 'run.completed', data: { outcome: 'result', usage: { input_tokens: 0 }, costUsd: 0, costSource: 'gateway' } })
    const { runId } = received[0]!.data
    const path = `/api/modal/sandbox/${id}/claude`
    const file = logOf(owned, runId)
    const forge = async (script: string) => {
      await exec(service, id, script)
      const fresh = replica()
      const listed = await fresh.list(owned)
      const run = await fresh.get(owned, runId).catch((error: AppError) => error.code)
      return { listed, run, events: typeof run === 'string' ? [] : await read(run) }
    }
    for (const script of [
      `rm ${file}; ln -s /etc/passwd ${file}`, `rm ${file}; mkfifo ${file}`, `rm -r ${file}; mkdir ${file}`
    ]) {
      const { listed, run } = await forge(script)
      t.equal(run, 'RUN_NOT_FOUND', script)
      t.notOk(listed.some((found) => found.id === runId))
    }
    const started = JSON.stringify({
      record: 'started', run: runId, sandboxId: id, sessionId: null, startedAt: new Date().toISOString(), prompt: 'x', format: 'stream-json', onDisconnect: 'terminate', timeoutMs: 1
    })
    const begin = `rm -rf ${file}; printf '\\036%s\\n' '${started}' > ${file}`
    t.match(await forge(`${begin}; head -c 3000000 /dev/urandom >> ${file}`), { run: { completion: { outcome: 'stream_lost' } } }, 'garbage')
    const giant = await forge(`${begin}; yes x | tr -d '\\n' | head -c 40000000 >> ${file}`)
    t.match(giant.events.map(({ event }) => event), ['run.started', 'output', 'output', 'gap', 'run.completed'], 'a line without an end')
    const twice = await forge(`${begin}; printf '\\036{"record":"ended","run":"${runId}","exitCode":0,"stop":""}\\n{"type":"x"}\\n\\036{"record":"ended","run":"${runId}","exitCode":1,"stop":""}\\n' >> ${file}`)
    t.match(twice, { run: { completion: { exitCode: 1 } } }, 'only the last line can be its end')
    t.strictSame(twice.events.map(({ event }) => event), ['run.started', 'output', 'claude', 'run.completed'], 'and there is one')
    await forge(`${begin.replaceAll(started, 'x')}`)
    await forge(`: > ${file}; mkdir -p ${directoryOf(owned, '../runs/run_A')} "${directoryOf(owned, 'x y')}"`)
    t.equal((await service.request(path)).status, 200)
    t.equal((await service.request(`${path}/..%2f..%2fetc`)).status, 404)
    t.equal((await service.request(`${path}/${runId}/events?after=999999999999`, { headers: { accept: 'application/json' } })).status, 200)
  })

  await t.test('A log that changes under its reader spoils the run, and nothing else', async (t) => {
    const ruin = (file: string) => [`: > ${file}`, `rm ${file}; mkfifo ${file}`, `echo '{"type":"y"}' > ${file}.new; mv ${file}.new ${file}`]
    for (const [index] of ruin('').entries()) {
      await claude(service, id, `echo '{"type":"x","text":"${'y'.repeat(5000)}"}'; sleep 4; ${result}`)
      const run = await one.start(account, owned, { prompt: 'x' })
      const mine = read(run)
      await sleep(500)
      const theirs = read(await replica().get(owned, run.id))
      await sleep(700)
      await exec(service, id, ruin(logOf(owned, run.id))[index]!)
      t.match((await mine).at(-1), { event: 'run.completed' }, ruin('log')[index]!)
      t.match((await theirs).at(-1), { event: 'run.completed' })
      await exec(service, id, `rm -rf ${directoryOf(owned, run.id)} ${stateOf(run.id)}`)
    }
  })

  await t.test('A prompt of 1 MB arrives byte by byte', async (t) => {
    await claude(service, id, `cat | cksum; ${result}`)
    const prompt = 'ü@$(x)`\\"\n'.repeat(1_048_576 / 11 | 0)
    const received = await post(service, id, { prompt })
    t.ok(Buffer.byteLength(prompt) > 1_000_000)
    const size = Buffer.byteLength(JSON.stringify({ type: 'user', message: { role: 'user', content: `\n${prompt}` } }))
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

  await t.test('Who only looks does not keep a sandbox awake: its runs are asked for once', async (t) => {
    let execs = 0
    const counted = withExec(owned, (start, command, params) => { execs++; return start(command, params) })
    const viewer = replica()
    const [latest] = await viewer.list(counted)
    t.equal(execs > 0, true)
    execs = 0
    for (let again = 0; again < 5; again++) {
      await viewer.list(counted)
      await viewer.active(counted)
      await viewer.get(counted, latest!.id)
    }
    t.equal(execs, 0)
    await claude(service, id, result)
    await read(await one.start(account, owned, { prompt: 'new' }))
    t.match((await viewer.list(counted))[0]!.view(), { prompt: 'new' }, 'and again when another replica has started one')
    execs = 0
    await viewer.list(counted)
    t.equal(execs, 0)
  })

  await t.test('When the sandbox ends under a run, the run says so, and its volume remembers', async (t) => {
    await claude(service, id, 'echo started; sleep 4343')
    const run = await one.start(account, owned, { prompt: 'x' })
    for await (const batch of run.read(0, new AbortController().signal)) if (batch.some(({ event }) => event === 'output')) break
    const idle = await other.get(owned, run.id)
    await (await modal.client.sandboxes.fromId(id)).terminate({ wait: true })
    t.match(JSON.parse((await once(run)).json), { outcome: 'sandbox_lost', isError: true })
    await t.resolves(one.cancel(run), 'cancelling what has ended is no mistake')
    t.match(await late(t, service, id), { statusCode: 409, code: 'SANDBOX_ENDED' })
    t.match((await other.get(owned, run.id)).completion, { outcome: 'sandbox_lost' }, 'a replica that only looked')
    t.match((await read(idle)).at(-1)?.event, 'run.completed')
    await t.rejects(replica().get(owned, run.id), { code: 'SANDBOX_ENDED' }, 'nobody knows it but the volume')

    const next = await sandboxes.open(account, await create(service))
    const later = await replica().get(next, run.id)
    t.match(later.view(), { sandboxId: id, completion: { outcome: 'sandbox_lost' } })
    t.match((await read(later)).map(({ event }) => event), ['run.started', 'output', 'run.completed'])
    const runs = await replica().list(next)
    t.ok(runs.length >= 4)
    t.match(runs.find((old) => old.view().prompt === 'new')?.completion, { outcome: 'result' })
  })

  await t.test('Readers are told before the lifetime of the sandbox ends, also who comes late, and how the run ended with it', async (t) => {
    for (const { events, expiresAt } of await outlived) {
      const told = events.findIndex(({ event }) => event === 'sandbox.expiring')
      t.strictSame(events[told], { event: 'sandbox.expiring', data: { expiresAt } }, 'without an id: nobody has to come back to it')
      t.match(events.at(-1), { event: 'run.completed', data: { outcome: 'sandbox_lost' } })
    }
  })
})

/** What readers of a run see that goes on longer than its sandbox. */
async function outlive (service: Service): Promise<{ events: ReceivedEvent[], expiresAt: string }[]> {
  const id = await create(service, { timeoutMs: 15_000 })
  await claude(service, id, 'sleep 4444')
  const path = `/api/modal/sandbox/${id}`
  const { expiresAt } = await (await service.request(path)).json() as { expiresAt: string }
  const run = await service.request(`${path}/claude`, { method: 'POST', json: { prompt: 'x' }, headers: { prefer: 'respond-async' } })
  const { runId } = await run.json() as { runId: string }
  const read = async () => await readAll(await service.request(`${path}/claude/${runId}/events`))
  const first = read()
  await sleep(Math.max(0, Date.parse(expiresAt) - Date.now() - 1000))
  return (await Promise.all([first, read()])).map((events) => ({ events, expiresAt }))
}

async function create (service: Service, more: object = { volume: { name: 'work' } }): Promise<string> {
  const response = await service.request('/api/modal/sandbox', {
    method: 'POST', json: { env: { PATH: '/workspace/bin:/usr/local/bin:/usr/bin:/bin' }, ...more }
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
  return await readAll(await service.request(`/api/modal/sandbox/${id}/claude`, { method: 'POST', json }))
}

async function readAll (response: Response): Promise<ReceivedEvent[]> {
  const events: ReceivedEvent[] = []
  for await (const event of readSse(response)) events.push(event)
  return events
}

async function late (t: Test, service: Service, id: string): Promise<unknown> {
  const response = await service.request(`/api/modal/sandbox/${id}/claude`, { method: 'POST', json: { prompt: 'x' } })
  t.equal(response.status, 409)
  return await response.json()
}

/** All events of a run, from a position on. */
async function read (run: Run, after = 0, signal = new AbortController().signal): Promise<RunEvent[]> {
  const leave = run.addReader()
  const events: RunEvent[] = []
  for await (const batch of run.read(after, signal)) {
    events.push(...batch.map(({ id, event, json }) => ({ id, event, json })))
  }
  leave()
  return events
}

async function pages (run: Run): Promise<RunEvent[]> {
  const events: RunEvent[] = []
  for (let done = false; !done;) {
    const page = await run.page(events.at(-1)?.id ?? 0)
    events.push(...page.events.map(({ id, event, json }) => ({ id, event, json })))
    done = page.done
  }
  return events
}

/** Its last event, without being a reader. */
async function once (run: Run): Promise<RunEvent> {
  for await (const batch of run.read(0, new AbortController().signal)) {
    if (batch.at(-1)!.event === 'run.completed') return batch.at(-1)!
  }
  throw new Error('no end')
}

function isRunner (command: string[]): boolean {
  return command.some((word) => word.endsWith('runner.sh') && word.startsWith('/tmp'))
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

function breakAfterFirst (stream: ReadableStream<unknown>, ms = 0): ReadableStream<unknown> {
  const reader = stream.getReader()
  let first = true
  return new ReadableStream({
    async pull (controller) {
      if (!first) {
        await sleep(ms)
        // Else the SDK would hold its call open.
        drain(reader).catch(() => {})
        return controller.error(new Error('connection reset'))
      }
      first = false
      controller.enqueue((await reader.read()).value)
    }
  }, { highWaterMark: 0 })
}

async function drain (reader: ReadableStreamDefaultReader<unknown>) {
  while (!(await reader.read()).done);
}
