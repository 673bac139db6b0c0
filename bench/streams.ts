import type { Sandbox } from 'modal'
import { readSse } from '../test/helpers/sse.js'
import { median, percentile, residentKiB, type Stage } from './stage.js'

/** Prints the time in nanoseconds, `count` times with a pause: what arrives tells how long it was on its way. */
const clock = (count: number, pause: number) => ['sh', '-c', `i=0; while [ $i -lt ${count} ]; do date +%s%N; sleep ${pause}; i=$((i+1)); done`]
const flood = (mebibytes: number) => ['sh', '-c', `yes 0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcde | head -c ${mebibytes}M`]

const nowNs = () => (performance.timeOrigin + performance.now()) * 1e6

/** Milliseconds each printed time was under way. */
function delays (text: string): number[] {
  const now = nowNs()
  return text.split('\n').filter(Boolean).map((printed) => (now - Number(printed)) / 1e6)
}

async function bareDelays (sandbox: Sandbox, command: string[]): Promise<number[]> {
  const process = await sandbox.exec(command)
  const errors = process.stderr.readText()
  const all: number[] = []
  for await (const text of process.stdout) all.push(...delays(text))
  await Promise.all([errors, process.wait()])
  return all
}

async function sseDelays (stage: Stage, id: string, command: string[]): Promise<number[]> {
  const response = await stage.request(`/api/modal/sandbox/${id}/exec`, { command }, { headers: { accept: 'text/event-stream' } })
  const all: number[] = []
  for await (const { event, data } of readSse(response)) if (event === 'stdout') all.push(...delays(data.text))
  return all
}

/** (a) Our SSE path against the bare SDK, the same command, turn by turn. */
export async function latency (stage: Stage, bare: Sandbox, id: string) {
  const rounds = { bare: [] as number[][], sse: [] as number[][] }
  for (let round = 0; round < 5; round++) {
    rounds.bare.push(await bareDelays(bare, clock(150, 0.01)))
    rounds.sse.push(await sseDelays(stage, id, clock(150, 0.01)))
  }
  const at = (share: number, all: number[][]) => median(all.map((values) => percentile(values, share)))
  for (const [name, share] of [['p50', 0.5], ['p99', 0.99]] as const) {
    report(`(a) latency ${name}`, at(share, rounds.sse), at(share, rounds.bare), 'ms')
  }
}

/** (b) Bytes a second of a long output. */
export async function throughput (stage: Stage, bare: Sandbox, id: string, mebibytes = 64) {
  const rates = { bare: [] as number[], sse: [] as number[] }
  for (let round = 0; round < 5; round++) {
    let started = performance.now()
    const process = await bare.exec(flood(mebibytes))
    let bytes = 0
    for await (const text of process.stdout) bytes += text.length
    rates.bare.push(bytes / 1048.576 / (performance.now() - started))

    started = performance.now()
    const response = await stage.request(`/api/modal/sandbox/${id}/exec`, { command: flood(mebibytes) }, { headers: { accept: 'text/event-stream' } })
    bytes = 0
    for await (const chunk of response.body!) bytes += chunk.length
    if (bytes < mebibytes * 1048576) throw new Error('the stream is too short')
    rates.sse.push(mebibytes * 1000 / (performance.now() - started))
  }
  report('(b) throughput', median(rates.sse), median(rates.bare), 'MiB/s')
}

/** (c) Many streams at once: delay at p99, and the service's memory for each. */
export async function concurrency (stage: Stage, bare: Sandbox, id: string, streams = 200) {
  const command = clock(20, 1)
  const before = await residentKiB(stage.servicePid)
  let peak = before
  const watch = setInterval(async () => { peak = Math.max(peak, await residentKiB(stage.servicePid)) }, 200)
  const sse = (await Promise.all(Array.from({ length: streams }, () => sseDelays(stage, id, command)))).flat()
  clearInterval(watch)
  const bareAll = (await Promise.all(Array.from({ length: streams }, () => bareDelays(bare, command)))).flat()
  report(`(c) ${streams} streams, latency p99`, percentile(sse, 0.99), percentile(bareAll, 0.99), 'ms')
  console.log(`(c) memory per stream: ${((peak - before) / streams).toFixed(1)} KiB (${before} -> ${peak} KiB)`)
}

export function report (what: string, ours: number, bare: number, unit: string) {
  console.log(`${what}: ${ours.toFixed(2)} ${unit}, bare SDK ${bare.toFixed(2)} ${unit}, ratio ${(ours / bare).toFixed(2)}`)
}
