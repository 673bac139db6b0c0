import { createHash } from 'node:crypto'
import { readdir, readFile } from 'node:fs/promises'
import { get } from 'node:http'
import { setTimeout as sleep } from 'node:timers/promises'
import { readSse } from '../test/helpers/sse.js'
import type { Replica, Stage } from '../test/helpers/stage.js'
import { percentile } from './stage.js'

const path = '/workspace/bin:/usr/local/bin:/usr/bin:/bin'
const result = 'echo \'{"type":"result","is_error":false}\''
/** Counts lines that have characters of several bytes in them. */
const counter = (lines: number, pause: number) =>
  `i=0; while [ $i -lt ${lines} ]; do echo "{\\"type\\":\\"n\\",\\"n\\":$i,\\"t\\":\\"ü🦄\\"}"; i=$((i+1)); sleep ${pause}; done; ${result}`
/** A tool, its daemon, one without environment, and nobody listens to INT and TERM. */
const stubborn = "trap '' INT TERM; (setsid sleep 4646 &); env -i setsid sleep 4646 & sleep 4646"

export async function createSandbox (replica: Replica): Promise<string> {
  const name = `w${Math.random().toString(36).slice(2)}`
  const response = await replica.request('/api/modal/sandbox', { json: { volume: { name }, env: { PATH: path } } })
  return (await response.json() as { id: string }).id
}

/** Puts a program in Claude's place. */
export async function install (replica: Replica, id: string, program: string): Promise<void> {
  await exec(replica, id, 'mkdir -p bin && cat > bin/claude && chmod +x bin/claude', `#!/bin/sh\n${program}\n`)
}

async function exec (replica: Replica, id: string, script: string, stdin = ''): Promise<string> {
  const response = await replica.request(`/api/modal/sandbox/${id}/exec`, {
    json: { command: ['sh', '-c', script], stdin }, headers: { accept: 'application/json' }
  })
  return (await response.json() as { stdout: string }).stdout
}

async function start (replica: Replica, id: string, more: object = {}): Promise<string> {
  const response = await replica.request(`/api/modal/sandbox/${id}/claude`, {
    json: { prompt: 'x', onDisconnect: 'continue', ...more }, headers: { prefer: 'respond-async' }
  })
  return (await response.json() as { runId: string }).runId
}

/** kill -9 of the service at a random moment in a run; a reader goes on at another. @returns events lost or doubled. */
export async function killRestarts (stage: Stage, count: number): Promise<number> {
  const lines = 60
  let wrong = 0
  let [doomed, other] = await Promise.all([stage.startReplica(), stage.startReplica()])
  const id = await createSandbox(other)
  await install(other, id, counter(lines, 0.02))
  for (let round = 0; round < count; round++) {
    const numbers: number[] = []
    let ends = 0
    let last = '0'
    const read = async (response: Response) => {
      for await (const { id, event, data } of readSse(response)) {
        if (id !== undefined) last = id
        if (data.type === 'n') numbers.push(data.n)
        if (event === 'run.completed') ends += data.outcome === 'result' ? 1 : 1000
      }
    }
    const response = await doomed.request(`/api/modal/sandbox/${id}/claude`, { json: { prompt: 'x', onDisconnect: 'continue' } })
    const runId = response.headers.get('location')!.split('/').at(-1)!
    const killed = sleep(Math.random() * 1500).then(() => doomed.kill())
    await read(response).catch(() => {})
    await killed
    const next = stage.startReplica()
    if (ends === 0) {
      await read(await other.request(`/api/modal/sandbox/${id}/claude/${runId}/events`, { headers: { 'last-event-id': last } }))
    }
    const exact = ends === 1 && numbers.length === lines && numbers.every((number, index) => number === index)
    if (!exact) {
      wrong++
      console.log(`round ${round}: ${numbers.length} events, ${ends} ends: ${numbers.join(' ')}`)
    }
    doomed = other
    other = await next
  }
  await Promise.all([doomed.kill(), other.kill()])
  return wrong
}

/** Readers of one long run that lose their connection again and again. @returns whether each got the log's bytes. */
export async function resumes (stage: Stage, count: number, readers = 10): Promise<boolean> {
  const [one, other] = await Promise.all([stage.startReplica(), stage.startReplica()])
  const id = await createSandbox(one)
  await install(one, id, counter(1500, 0.01))
  const runId = await start(one, id)
  let left = count
  const digests = await Promise.all(Array.from({ length: readers }, async () => {
    const hash = createHash('sha256')
    let last = '0'
    for (let done = false; !done;) {
      const cut = new AbortController()
      const replica = Math.random() < 0.5 ? one : other
      try {
        const response = await replica.request(`/api/modal/sandbox/${id}/claude/${runId}/events`, {
          headers: { 'last-event-id': last }, signal: cut.signal
        })
        let quota = left-- > 0 ? 1 + Math.random() * 25 : Infinity
        for await (const event of readSse(response)) {
          if (event.id === undefined) continue
          last = event.id
          if (event.event === 'claude') hash.update(`${JSON.stringify(event.data)}\n`)
          if (event.event === 'run.completed') done = true
          if (quota-- < 1 && !done) cut.abort()
        }
      } catch (error) {
        if (!cut.signal.aborted) throw error
      }
    }
    return hash.digest('hex')
  }))
  const log = `/workspace/.claude-sandbox/runs/${runId}/log`
  const truth = (await exec(one, id, `sed '1d;$d' ${log} | sha256sum`)).split(' ')[0]
  await Promise.all([one.kill(), other.kill()])
  return left <= 0 && digests.every((digest) => digest === truth)
}

/** @returns milliseconds of each cancel, Infinity where something was left alive. */
export async function cancels (stage: Stage, count: number): Promise<number[]> {
  const replica = await stage.startReplica()
  const id = await createSandbox(replica)
  await install(replica, id, stubborn)
  const times: number[] = []
  for (let round = 0; round < count; round++) {
    const runId = await start(replica, id)
    await sleep(400)
    const started = performance.now()
    const answer = await (await replica.request(`/api/modal/sandbox/${id}/claude/${runId}/cancel`, { method: 'POST' })).json() as any
    const time = performance.now() - started
    const alive = await exec(replica, id, 'for f in /proc/[0-9]*/cmdline; do tr "\\0" " " < $f 2>/dev/null; echo; done | grep -c "^sleep 4646"')
    times.push(answer.completion?.outcome === 'cancelled' && alive.trim() === '0' ? time : Infinity)
  }
  await replica.kill()
  return times
}

/** Many readers of live runs. @returns p95 of /healthz in milliseconds, KiB of memory a reader. */
export async function manyReaders (stage: Stage, count: number, runs = 5) {
  const replica = await stage.startReplica()
  const ids = await Promise.all(Array.from({ length: runs }, async () => {
    const id = await createSandbox(replica)
    await install(replica, id, counter(400, 0.05))
    return [id, await start(replica, id)] as const
  }))
  await sleep(1000)
  const before = await residentKiB(replica)
  const requests = Array.from({ length: count }, (_, number) => {
    const [id, runId] = ids[number % runs]!
    return get(`${replica.url}/api/modal/sandbox/${id}/claude/${runId}/events`, {
      headers: { 'x-api-key': replica.apiKey, accept: 'text/event-stream' }, agent: false
    }, (response) => response.resume()).on('error', () => {})
  })
  await sleep(3000)
  const times: number[] = []
  let peak = 0
  for (const end = Date.now() + 8000; Date.now() < end;) {
    const started = performance.now()
    await (await fetch(`${replica.url}/healthz`)).text()
    times.push(performance.now() - started)
    peak = Math.max(peak, await residentKiB(replica))
    await sleep(20)
  }
  requests.forEach((request) => request.destroy())
  await replica.kill()
  return { p95: percentile(times, 0.95), kibPerReader: (peak - before) / count }
}

/** A run that says very much, with and without a reader that takes nothing. @returns MiB that it costs. */
export async function stalledReader (stage: Stage, mebibytes: number): Promise<number> {
  const peaks: number[] = []
  for (const stalled of [false, true]) {
    const replica = await stage.startReplica()
    const id = await createSandbox(replica)
    await install(replica, id, `sleep 1; yes '{"type":"x","text":"${'y'.repeat(1000)}"}' | head -n ${mebibytes * 1000}; ${result}`)
    const runId = await start(replica, id)
    const url = `${replica.url}/api/modal/sandbox/${id}/claude/${runId}/events`
    const headers = { 'x-api-key': replica.apiKey, accept: 'text/event-stream' }
    // Its response is never read: the kernel's buffers fill, then it stalls.
    const request = stalled ? get(url, { headers, agent: false }, (response) => response.pause()) : undefined
    request?.on('error', () => {})
    let peak = 0
    const watch = setInterval(async () => { peak = Math.max(peak, await residentKiB(replica).catch(() => 0)) }, 100)
    const response = await replica.request(url.slice(replica.url.length))
    let bytes = 0
    for await (const chunk of response.body!) bytes += chunk.length
    clearInterval(watch)
    if (bytes < mebibytes * 1_000_000) throw new Error(`only ${bytes} bytes arrived`)
    peaks.push(peak)
    request?.destroy()
    await replica.kill()
  }
  return (peaks[1]! - peaks[0]!) / 1024
}

/** Readers that come and go. @returns descriptors that are open more than before. */
export async function reconnects (stage: Stage, count: number): Promise<number> {
  const replica = await stage.startReplica()
  const id = await createSandbox(replica)
  await install(replica, id, counter(3000, 0.02))
  const runId = await start(replica, id)
  const cycle = async () => {
    const leaving = new AbortController()
    const response = await replica.request(`/api/modal/sandbox/${id}/claude/${runId}/events`, { signal: leaving.signal })
    await response.body!.getReader().read()
    leaving.abort()
  }
  for (let warm = 0; warm < 5; warm++) await cycle()
  await sleep(500)
  const before = await descriptors(replica)
  for (let round = 0; round < count; round++) await cycle()
  await sleep(1500)
  const after = await descriptors(replica)
  await replica.kill()
  return after - before
}

async function descriptors ({ process }: Replica): Promise<number> {
  return (await readdir(`/proc/${process.pid}/fd`)).length
}

async function residentKiB ({ process }: Replica): Promise<number> {
  return Number(/VmRSS:\s+(\d+)/.exec(await readFile(`/proc/${process.pid}/status`, 'utf8'))![1])
}
