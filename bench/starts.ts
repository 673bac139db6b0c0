import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { freePort } from '../test/helpers/port.js'
import { bareSandbox, median, residentKiB, type Stage } from './stage.js'
import { report } from './streams.js'

/** (d) From the request to the answer, against the SDK calls that it can't do without. */
export async function creation (stage: Stage) {
  const times = { bare: [] as number[], service: [] as number[] }
  for (let round = 0; round < 6; round++) {
    let started = performance.now()
    const sandbox = await bareSandbox({ client: stage.client, app: await stage.client.apps.fromName('bench', { createIfMissing: true }) })
    times.bare.push(performance.now() - started)
    await sandbox.terminate()

    started = performance.now()
    const response = await stage.request('/api/modal/sandbox', { volume: { name: 'bench' } })
    const { id } = await response.json() as { id: string }
    times.service.push(performance.now() - started)
    await stage.request(`/api/modal/sandbox/${id}`, undefined, { method: 'DELETE' })
  }
  // The first round pays for what both keep afterwards (image, volume, connections).
  report('(d) create', median(times.service.slice(1)), median(times.bare.slice(1)), 'ms')
}

/** (e) `npm start` on a built tree until it is alive, and its memory when idle. */
export async function startUp () {
  const times: number[] = []
  const memory: number[] = []
  for (let round = 0; round < 5; round++) {
    const dataDir = await mkdtemp(join(tmpdir(), 'modal-sandbox-start-'))
    const port = await freePort()
    const started = performance.now()
    const child = spawn('npm', ['start', '--silent'], {
      env: { ...process.env, PORT: String(port), DATA_DIR: dataDir, LOG_LEVEL: 'error' }, stdio: ['ignore', 'ignore', 'inherit'], detached: true
    })
    while (!await fetch(`http://127.0.0.1:${port}/healthz`).then(({ ok }) => ok, () => false)) await sleep(10)
    times.push(performance.now() - started)
    await sleep(3000)
    const server = await serverUnder(child.pid!)
    memory.push(await residentKiB(server) / 1024)
    process.kill(server, 'SIGTERM')
    await once(child, 'exit')
    await rm(dataDir, { recursive: true, force: true })
  }
  console.log(`(e) npm start to /healthz: ${(median(times) / 1000).toFixed(2)} s; idle memory: ${median(memory).toFixed(0)} MiB`)
}

/** The node process that npm, through its shell, has started; it has children of its own. */
async function serverUnder (pid: number): Promise<number> {
  if ((await readFile(`/proc/${pid}/cmdline`, 'utf8')).startsWith('node\0dist/server.js')) return pid
  const [child] = (await readFile(`/proc/${pid}/task/${pid}/children`, 'utf8')).split(' ').filter(Boolean).map(Number)
  if (child === undefined) throw new Error('npm has started no server')
  return await serverUnder(child)
}
