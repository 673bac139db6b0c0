import type { Sandbox } from 'modal'
import { readSse } from '../test/helpers/sse.js'
import { median, percentile, type Stage } from './stage.js'
import { report } from './streams.js'

const nowNs = () => (performance.timeOrigin + performance.now()) * 1e6
/** Stands in Claude's place: lines that tell when they were written, or many megabytes. */
const clock = 'i=0; while [ $i -lt 150 ]; do echo "{\\"type\\":\\"t\\",\\"at\\":$(date +%s%N)}"; sleep 0.01; i=$((i+1)); done'
const flood = (mebibytes: number) => `yes '{"type":"x","text":"${'y'.repeat(1000)}"}' | head -c ${mebibytes}M; echo`

async function install (stage: Stage, id: string, program: string) {
  await stage.request(`/api/modal/sandbox/${id}/exec`, {
    command: ['sh', '-c', 'mkdir -p bin && cat > bin/claude && chmod +x bin/claude'],
    stdin: `#!/bin/sh\n${program}\necho '{"type":"result","is_error":false}'\n`
  }, { headers: { accept: 'application/json' } })
}

/** (f) The way of a line from Claude to the client, through terminal, log and service; against a bare exec's output. */
export async function runLatency (stage: Stage, bare: Sandbox, id: string) {
  await install(stage, id, clock)
  const rounds = { bare: [] as number[][], run: [] as number[][], replica: [] as number[][] }
  for (let round = 0; round < 5; round++) {
    const delays: number[] = []
    const process = await bare.exec(['sh', '-c', clock])
    const errors = process.stderr.readText()
    for await (const text of process.stdout) {
      const now = nowNs()
      for (const [, at] of text.matchAll(/"at":(\d+)/g)) delays.push((now - Number(at)) / 1e6)
    }
    await Promise.all([errors, process.wait()])
    rounds.bare.push(delays)

    const run: number[] = []
    const response = await stage.request(`/api/modal/sandbox/${id}/claude`, { prompt: 'x' })
    for await (const { data } of readSse(response)) if (data.type === 't') run.push((nowNs() - data.at) / 1e6)
    rounds.run.push(run)
  }
  const at = (share: number, all: number[][]) => median(all.map((values) => percentile(values, share)))
  report('(f) run latency p50', at(0.5, rounds.run), at(0.5, rounds.bare), 'ms')
  report('(f) run latency p99', at(0.99, rounds.run), at(0.99, rounds.bare), 'ms')
}

/** (g) Bytes a second of a run that says a lot. */
export async function runThroughput (stage: Stage, bare: Sandbox, id: string, mebibytes = 64) {
  await install(stage, id, flood(mebibytes))
  const rates = { bare: [] as number[], run: [] as number[] }
  for (let round = 0; round < 3; round++) {
    let started = performance.now()
    const process = await bare.exec(['sh', '-c', flood(mebibytes)])
    let bytes = 0
    for await (const text of process.stdout) bytes += text.length
    rates.bare.push(bytes / 1048.576 / (performance.now() - started))

    started = performance.now()
    const response = await stage.request(`/api/modal/sandbox/${id}/claude`, { prompt: 'x' })
    bytes = 0
    for await (const chunk of response.body!) bytes += chunk.length
    if (bytes < mebibytes * 1048576) throw new Error('the stream is too short')
    rates.run.push(mebibytes * 1000 / (performance.now() - started))
  }
  report('(g) run throughput', median(rates.run), median(rates.bare), 'MiB/s')
}
