// npm run build && npm run bench: what the service costs, as ratios against the bare SDK in the same run.
import { runLatency, runThroughput } from './runs-latency.js'
import { openStage, bareSandbox } from './stage.js'
import { creation, startUp } from './starts.js'
import { concurrency, latency, throughput } from './streams.js'

const stage = await openStage()
try {
  const bare = await bareSandbox(stage)
  const env = { PATH: '/workspace/bin:/usr/local/bin:/usr/bin:/bin' }
  const response = await stage.request('/api/modal/sandbox', { volume: { name: 'bench' }, env })
  const { id } = await response.json() as { id: string }
  await latency(stage, bare, id)
  await throughput(stage, bare, id)
  await concurrency(stage, bare, id)
  await runLatency(stage, bare, id)
  await runThroughput(stage, bare, id)
  await creation(stage)
} finally {
  await stage.close()
}
await startUp()
