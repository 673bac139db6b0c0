import { mkdtemp } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { buildApp } from '../../app.js'
import { parseConfig } from '../../config.js'
import { removeTree } from '../../emulator/container/host.js'
import { startEmulator } from '../../emulator/index.js'
import type { AnsweredCall } from '../../emulator/rpc/distance.js'
import { digest, randomId } from '../../lib/ids.js'
import { isolation } from './isolation.js'
import { readSse } from './sse.js'
import { until } from './run-stage.js'

const apiKey = randomId('key')
const path = '/api/modal/sandbox'
const silent = { debug () {}, info () {}, warn () {}, error () {} }
/** Stands in Claude's place: works until it is ended, and is never silent, as the sandbox would be looked at then. */
const program = `#!/bin/sh
echo '{"type":"system","subtype":"init","session_id":"s-1"}'
while sleep 1; do echo '{"type":"tick"}'; done
`
/** What a run reads while it lasts; nobody waits for it to arrive. */
const heartbeat = /^[rs]\d+\n$/

/** The calls to Modal that a request has waited for. */
export interface Trips {
  /** All that were answered before the request was. */
  calls: string[]
  /** The longest chain of them that were made one after the other: each began when the one before was answered. */
  chain: string[]
  /** What the client has waited, in milliseconds. */
  ms: number
}

export interface TripsOptions {
  delayMs: number
  /** More settings of the service. */
  env?: Record<string, string>
  /** What its account may use besides. */
  account?: object
}

/** Two replicas of the service, as far away from the emulator as they would be from Modal. */
export async function openTrips ({ delayMs, env = {}, account = {} }: TripsOptions) {
  const dataDir = await mkdtemp(join(tmpdir(), 'trips-'))
  const answered: AnsweredCall[] = []
  const emulator = await startEmulator({
    dataDir, isolation, network: 'host', delayMs, onCall: (call) => { answered.push(call) }, log: silent
  })
  const config = parseConfig({
    MODAL_TOKEN_ID: emulator.tokenId,
    MODAL_TOKEN_SECRET: emulator.tokenSecret,
    MODAL_SERVER_URL: emulator.url,
    CLAUDE_IMAGE: 'local',
    DATA_DIR: dataDir,
    PORT: '0',
    LOG_LEVEL: 'silent',
    ACCOUNTS: JSON.stringify([{
      id: 'trips',
      apiKeys: [`sha256:${digest(apiKey)}`],
      limits: { sandboxes: 100, volumes: 1000, runs: 100, requestsPerMinute: 100_000 },
      ...account
    }]),
    ...env
  })
  const startReplica = async () => {
    const app = await buildApp(config)
    return { app, url: await app.listen({ host: '127.0.0.1', port: 0 }) }
  }
  const replicas = await Promise.all([startReplica(), startReplica()])

  async function ask (replica: number, url: string, init: RequestInit & { json?: unknown } = {}): Promise<Response> {
    const { json, ...rest } = init
    const response = await fetch(replicas[replica]!.url + path + url, {
      ...json !== undefined && { method: 'POST', body: JSON.stringify(json) },
      ...rest,
      headers: { 'x-api-key': apiKey, ...json !== undefined && { 'content-type': 'application/json' }, ...rest.headers }
    })
    if (!response.ok) throw new Error(`${url}: ${response.status} ${await response.text()}`)
    return response
  }

  /** What a request costs: from its beginning until `request` has what its client waits for. */
  async function measure (request: () => Promise<unknown>): Promise<Trips> {
    const from = performance.now()
    await request()
    const to = performance.now()
    const whole = answered.filter((call) => call.startedAt >= from && call.answeredAt <= to)
    const started = new Set(whole.filter(({ method }) => method === 'TaskExecStart').map(execOf))
    const isHeard = (call: AnsweredCall) => started.has(execOf(call)) && !isHeartbeat(call)
    const within = whole.filter((call) => call.method !== 'TaskExecStdinWrite' || isHeard(call))
    return { calls: within.map(({ method }) => method), chain: longestChain(within), ms: to - from }
  }

  /** A sandbox with a program in Claude's place. */
  async function create (more: object = {}): Promise<string> {
    const json = { volume: { name: randomId('v').slice(-10) }, env: { PATH: '/workspace/bin:/usr/bin:/bin' }, ...more }
    return (await (await ask(0, '', { json })).json() as { id: string }).id
  }

  async function endAll () {
    const { sandboxes } = await (await ask(0, '?limit=100')).json() as { sandboxes: { id: string }[] }
    await Promise.all(sandboxes.map(async ({ id }) => { await (await ask(0, `/${id}`, { method: 'DELETE' })).json() }))
  }

  async function install (id: string) {
    const command = ['sh', '-c', 'mkdir -p bin && cat > bin/claude && chmod +x bin/claude']
    await ask(0, `/${id}/exec`, { json: { command, stdin: program }, headers: { accept: 'application/json' } })
  }

  /** Starts a run, and waits for its first event; what the service does about it afterwards is over, too. */
  async function start (
    id: string, measured = async (work: () => Promise<unknown>) => { await work() }
  ): Promise<string> {
    let runId = ''
    const left = new AbortController()
    const before = answered.length
    await measured(async () => {
      const response = await ask(0, `/${id}/claude`, {
        json: { prompt: 'x', onDisconnect: 'continue' }, signal: left.signal
      })
      for await (const { event, data } of readSse(response)) {
        if (event !== 'run.started') continue
        runId = data.runId
        return
      }
    })
    left.abort()
    // It looks at its tag once more.
    const tagged = () => answered.slice(before).filter(({ method }) => /^SandboxTagsGet/.test(method)).length
    await until(() => tagged() >= 2)
    return runId
  }

  /** The first event that a reader gets of a run. */
  async function readFirst (replica: number, id: string, runId: string): Promise<void> {
    const left = new AbortController()
    const response = await ask(replica, `/${id}/claude/${runId}/events`, {
      headers: { accept: 'text/event-stream' }, signal: left.signal
    })
    await readSse(response).next()
    left.abort()
  }

  async function close () {
    await Promise.all(replicas.map(async ({ app }) => { await app.close() }))
    await emulator.close()
    await removeTree(dataDir)
  }

  return { ask, measure, create, endAll, install, start, readFirst, close }
}

export type TripsStage = Awaited<ReturnType<typeof openTrips>>

function execOf ({ request }: AnsweredCall): string {
  return (request as { execId: string }).execId
}

function isHeartbeat ({ request }: AnsweredCall): boolean {
  return heartbeat.test((request as { data: Buffer }).data.toString('latin1'))
}

/** The longest chain of calls of which each began after the one before was answered. */
function longestChain (calls: AnsweredCall[]): string[] {
  const chains = new Map<AnsweredCall, string[]>()
  let longest: string[] = []
  for (const call of calls.toSorted((one, other) => one.answeredAt - other.answeredAt)) {
    let before: string[] = []
    for (const [other, chain] of chains) {
      if (other.answeredAt <= call.startedAt && chain.length > before.length) before = chain
    }
    const chain = [...before, call.method]
    chains.set(call, chain)
    if (chain.length > longest.length) longest = chain
  }
  return longest
}

/** A path through the service. */
export interface Path {
  name: string
  /** How many calls one after the other it may make. */
  most: number
  measure: (stage: TripsStage) => Promise<Trips>
}

const json = { accept: 'application/json' }

/** The paths that people wait for. Sandboxes are those of an account that has been at work before. */
export const paths: Path[] = [
  {
    name: 'create a sandbox',
    most: 7,
    async measure ({ create, endAll, measure }) {
      await endAll()
      await create()
      return await measure(async () => { await create() })
    }
  },
  {
    name: 'run a command',
    most: 2,
    async measure ({ ask, create, measure }) {
      const id = await create()
      return await measure(async () => {
        const response = await ask(0, `/${id}/exec`, { json: { command: ['echo', 'x'] }, headers: json })
        await response.json()
      })
    }
  },
  {
    name: 'run a command with input',
    most: 2,
    async measure ({ ask, create, measure }) {
      const id = await create()
      return await measure(async () => {
        const response = await ask(0, `/${id}/exec`, { json: { command: ['cat'], stdin: 'x' }, headers: json })
        await response.json()
      })
    }
  },
  {
    name: 'from a prompt to run.started',
    most: 3,
    async measure ({ create, install, measure, start }) {
      const id = await create()
      await install(id)
      let trips: Trips | undefined
      await start(id, async (work) => { trips = await measure(work) })
      return trips!
    }
  },
  {
    name: 'cancel a run',
    most: 2,
    async measure ({ ask, create, install, measure, start }) {
      const id = await create()
      await install(id)
      const runId = await start(id)
      return await measure(async () => { await (await ask(0, `/${id}/claude/${runId}/cancel`, { method: 'POST' })).json() })
    }
  },
  {
    name: 'first event of a run that another replica has started',
    most: 2,
    async measure ({ ask, create, install, measure, readFirst, start }) {
      const id = await create()
      await install(id)
      await (await ask(1, `/${id}/exec`, { json: { command: ['true'] }, headers: json })).json()
      const runId = await start(id)
      return await measure(async () => { await readFirst(1, id, runId) })
    }
  },
  {
    name: 'cancel a run that another replica has started',
    most: 2,
    async measure ({ ask, create, install, measure, start }) {
      const id = await create()
      await install(id)
      await (await ask(1, `/${id}/exec`, { json: { command: ['true'] }, headers: json })).json()
      const runId = await start(id)
      return await measure(async () => { await (await ask(1, `/${id}/claude/${runId}/cancel`, { method: 'POST' })).json() })
    }
  },
  {
    name: 'list a few sandboxes',
    most: 2,
    async measure ({ ask, create, measure, endAll }) {
      await endAll()
      await Promise.all([create(), create(), create()])
      return await measure(async () => { await (await ask(0, '')).json() })
    }
  },
  {
    name: 'list more than two pages of sandboxes again, when one is new',
    most: 2,
    async measure ({ ask, create, measure }) {
      for (let number = 0; number < 22; number += 2) await Promise.all([create(), create()])
      await (await ask(0, '')).json()
      await create()
      return await measure(async () => { await (await ask(0, '')).json() })
    }
  },
  {
    name: 'look at a sandbox',
    most: 1,
    async measure ({ ask, create, measure }) {
      const id = await create()
      return await measure(async () => { await (await ask(0, `/${id}`)).json() })
    }
  },
  {
    name: 'end a sandbox',
    most: 3,
    async measure ({ ask, create, measure }) {
      const id = await create()
      return await measure(async () => { await (await ask(0, `/${id}`, { method: 'DELETE' })).json() })
    }
  },
  {
    name: 'end a sandbox with an active run',
    most: 3,
    async measure ({ ask, create, install, measure, start }) {
      const id = await create()
      await install(id)
      await start(id)
      return await measure(async () => { await (await ask(0, `/${id}`, { method: 'DELETE' })).json() })
    }
  }
]

/** Needs an S3 server with a bucket that the account may use. */
export const syncPath = (bucket: string): Path => ({
  name: 'sync with nothing changed',
  most: 3,
  async measure ({ ask, create, measure }) {
    const s3 = { bucket, keyPrefix: `${randomId('p')}/`, initialize: false, syncOnTerminate: false }
    const id = await create({ s3, env: {} })
    await (await ask(0, `/${id}/exec`, { json: { command: ['sh', '-c', 'echo x > file'] }, headers: json })).json()
    const sync = async () => {
      await (await ask(0, `/${id}/sync`, { json: { direction: 'upload' }, headers: json })).json()
    }
    await sync()
    return await measure(sync)
  }
})
