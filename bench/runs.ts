// tsx bench/runs.ts [scene...]: what runs promise, with the full counts. Takes a quarter of an hour.
import { openStage } from '../test/helpers/stage.js'
import { cancels, killRestarts, manyReaders, reconnects, resumes, stalledReader } from './runs-scenes.js'
import { percentile } from './stage.js'

const stage = await openStage({ RUN_DISCONNECT_GRACE_MS: '60000' })
const scenes: Record<string, () => Promise<string>> = {
  kill: async () => `kill -9 of the service, 100 times: ${await killRestarts(stage, 100)} runs with events lost or doubled`,
  resumes: async () => `1,000 resumes of one run: ${await resumes(stage, 1000) ? 'bytes equal to the log' : 'BYTES DIFFER'}`,
  cancel: async () => {
    const times = await cancels(stage, 100)
    const [p50, max] = [percentile(times, 0.5), percentile(times, 1)].map(Math.round)
    return `cancel to nothing left, 100 times: p50 ${p50} ms, worst ${max} ms`
  },
  readers: async () => {
    const { p95, kibPerReader } = await manyReaders(stage, 500)
    return `500 readers: /healthz p95 ${p95.toFixed(1)} ms, ${kibPerReader.toFixed(1)} KiB a reader`
  },
  stalled: async () => `a stalled reader of 200 MB: ${(await stalledReader(stage, 200)).toFixed(1)} MiB more at the peak`,
  reconnects: async () => `200 reconnects: ${await reconnects(stage, 200)} descriptors left open`
}
const wanted = process.argv.slice(2)
try {
  for (const [name, scene] of Object.entries(scenes)) {
    if (wanted.length === 0 || wanted.includes(name)) console.log(await scene())
  }
} finally {
  await stage.close()
}
