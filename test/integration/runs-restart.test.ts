import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { readSse, type ReceivedEvent } from '../helpers/sse.js'
import { openStage, type Replica } from '../helpers/stage.js'

const skip = process.env.TEST_LIVE === '1' && 'kills the service, not Modal: on the emulator only'
/** A program in Claude's place that counts, with pauses, and has a result. */
const counter = (lines: number, pause: number) => `#!/bin/sh
echo '{"type":"system","subtype":"init","session_id":"s-1"}'
i=0; while [ $i -lt ${lines} ]; do echo "{\\"type\\":\\"n\\",\\"n\\":$i}"; i=$((i+1)); sleep ${pause}; done
echo '{"type":"result","is_error":false,"session_id":"s-1","total_cost_usd":0.5}'
`
const alive = "for f in /proc/[0-9]*/cmdline; do [ \"$(tr '\\0' ' ' < $f 2>/dev/null)\" = 'sleep 4545 ' ] && echo x; done | wc -l"

t.test('A run survives the service that started it', { skip }, async (t) => {
  const stage = await openStage({ RUN_DISCONNECT_GRACE_MS: '1500', HEARTBEAT_MS: '500' })
  t.teardown(stage.close)
  const [first, other] = await Promise.all([stage.startReplica(), stage.startReplica()])
  const id = await create(first)
  const path = `/api/modal/sandbox/${id}/claude`

  await t.test('Killed in the middle: the run goes on, readers resume elsewhere, each event comes once, the end is true', async (t) => {
    await install(first, id, counter(60, 0.1))
    const received: ReceivedEvent[] = []
    const response = await first.request(path, { json: { prompt: 'count', onDisconnect: 'continue' } })
    await collect(response, received, () => received.length === 20 && first.kill()).catch(() => {})
    const { runId } = received[0]!.data
    t.match(await (await other.request(`${path}/${runId}`)).json(), { status: 'running', runId, prompt: 'count' })
    const busy = await other.request(path, { json: { prompt: 'x' } })
    t.match(await busy.json(), { statusCode: 409, code: 'RUN_ACTIVE', runId })
    const again = await stage.startReplica()
    const position = received.at(-1)!.id!
    const rest = await Promise.all([other, again].map(async (replica) =>
      await collect(await replica.request(`${path}/${runId}/events`, { headers: { 'last-event-id': position } }))))
    t.strictSame(rest[0], rest[1], 'the same for both')
    const all = [...received, ...rest[0]!]
    t.strictSame(all.filter(({ data }) => data.type === 'n').map(({ data }) => data.n), Array.from({ length: 60 }, (_, n) => n))
    t.match(all.filter(({ event }) => event === 'run.completed'), [{ data: { outcome: 'result', exitCode: 0, costUsd: 0.5, sessionId: 's-1' } }])
    t.match(await (await again.request(`/api/modal/sandbox/${id}`)).json(), { activeRun: null })
  })

  await t.test('What the dead service was to watch over happens all the same: nobody there, timeout, cancel (4.6)', async (t) => {
    for (const [body, outcome] of [
      [{}, 'cancelled'], [{ onDisconnect: 'continue', timeoutMs: 4000 }, 'timeout'], [{ onDisconnect: 'continue' }, 'cancelled']
    ] as const) {
      await install(other, id, '#!/bin/sh\ntrap "" TERM\n(setsid sleep 4545 &)\nsleep 4545\n')
      const doomed = await stage.startReplica()
      const { runId } = await (await doomed.request(path, { json: { prompt: 'x', ...body }, headers: { prefer: 'respond-async' } })).json() as { runId: string }
      await sleep(500)
      await doomed.kill()
      if (outcome === 'cancelled' && 'onDisconnect' in body) {
        t.match(await (await other.request(`${path}/${runId}/cancel`, { method: 'POST' })).json(), { left: 0, completion: { outcome } })
      }
      t.match(await settled(other, `${path}/${runId}`), { completion: { outcome } }, JSON.stringify(body))
      t.equal(await exec(other, id, alive), '0\n')
    }
  })

  await t.test('A service that is told to stop tells its readers, ends what must have readers and leaves the rest', async (t) => {
    await install(other, id, counter(60, 0.1))
    const second = await create(other)
    await install(other, second, counter(60, 0.1))
    const leaving = await stage.startReplica()
    const stays = leaving.request(path, { json: { prompt: 'x', onDisconnect: 'continue' } })
    const goes = leaving.request(`/api/modal/sandbox/${second}/claude`, { json: { prompt: 'x' } })
    // A second signal would end it at once.
    let isTold = false
    const tell = () => { isTold ||= leaving.process.kill('SIGTERM') }
    const [staying, going] = await Promise.all((await Promise.all([stays, goes])).map(async (response) => {
      const received: ReceivedEvent[] = []
      await collect(response, received, () => { if (received.length === 10) tell() }).catch(() => {})
      return received
    }))
    const started = Date.now()
    if (leaving.process.exitCode === null) await new Promise((resolve) => leaving.process.once('exit', resolve))
    t.ok(Date.now() - started < 8000)
    t.match(staying!.at(-1), { event: 'shutdown' })
    t.match(going!.at(-1), { event: 'shutdown' })
    const runId = staying![0]!.data.runId
    const rest = await collect(await other.request(`${path}/${runId}/events?after=${staying!.at(-2)!.id}`))
    t.match(rest.at(-1), { event: 'run.completed', data: { outcome: 'result' } })
    t.match(await (await other.request(`/api/modal/sandbox/${second}/claude/${going![0]!.data.runId}`)).json(), { completion: { outcome: 'cancelled' } })
  })
})

async function create (replica: Replica): Promise<string> {
  const response = await replica.request('/api/modal/sandbox', {
    json: { volume: { name: `work-${Math.random().toString(36).slice(2)}` }, env: { PATH: '/workspace/bin:/usr/local/bin:/usr/bin:/bin' } }
  })
  return (await response.json() as { id: string }).id
}

async function exec (replica: Replica, id: string, script: string, stdin = ''): Promise<string> {
  const response = await replica.request(`/api/modal/sandbox/${id}/exec`, {
    json: { command: ['sh', '-c', script], stdin }, headers: { accept: 'application/json' }
  })
  return (await response.json() as { stdout: string }).stdout
}

async function install (replica: Replica, id: string, program: string) {
  await exec(replica, id, 'mkdir -p bin && cat > bin/claude && chmod +x bin/claude', program)
}

/** Events but heartbeats; what came before a break is in `received`. */
async function collect (
  response: Response, received: ReceivedEvent[] = [], onEvent: () => unknown = () => {}
): Promise<ReceivedEvent[]> {
  if (!response.ok) throw new Error(await response.text())
  for await (const event of readSse(response)) {
    if (event.event === 'heartbeat') continue
    received.push(event)
    await onEvent()
  }
  return received
}

async function settled (replica: Replica, path: string): Promise<any> {
  for (let tries = 0; tries < 150; tries++) {
    const run = await (await replica.request(path)).json() as { status: string }
    if (run.status === 'completed') return run
    await sleep(100)
  }
}
