import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { ModalClient, type App, type Sandbox } from 'modal'
import { withModalServer } from '../config.js'
import { digest } from '../lib/ids.js'

const apiKey = 'bench-key'
/** As V8 sets it by itself in a container of 1 GiB; on a large machine it leaves garbage lying about. */
const heapMiB = 512
const silent = { debug () {}, info () {}, warn () {}, error () {} }

/**
 * What is measured, each in a process of its own as in production: the emulator in Modal's place, the service as a
 * client of it, and this process, which asks once through the service and once with the bare SDK.
 *
 * @param options.env more settings of the service; `account` what its account may use besides.
 */
export async function openStage ({ env = {}, account = {} }: { env?: Record<string, string>, account?: object } = {}) {
  const dataDir = await mkdtemp(join(tmpdir(), 'modal-sandbox-bench-'))
  const emulator = spawn(process.execPath, ['dist/emulator/main.js'], {
    env: { ...process.env, DATA_DIR: dataDir, EMULATOR_PORT: '0' }, stdio: ['ignore', 'pipe', 'inherit']
  })
  const modal = await readExports(emulator)
  const service = spawn(process.execPath, [`--max-old-space-size=${heapMiB}`, 'dist/server.js'], {
    env: {
      ...process.env,
      ...modal,
      ...env,
      PORT: '0',
      CLAUDE_IMAGE: 'local',
      LOG_LEVEL: 'info',
      DATA_DIR: dataDir,
      ACCOUNTS: JSON.stringify([{
        id: 'bench',
        apiKeys: [`sha256:${digest(apiKey)}`],
        limits: { sandboxes: 100, runs: 100, streams: 1000, requestsPerMinute: 1e6 },
        ...account
      }])
    },
    stdio: ['ignore', 'pipe', 'inherit']
  })
  const url = await readUrl(service)
  const client = withModalServer(modal.MODAL_SERVER_URL, () => new ModalClient({
    tokenId: modal.MODAL_TOKEN_ID!, tokenSecret: modal.MODAL_TOKEN_SECRET!, logger: silent
  }))
  const app = await client.apps.fromName('bench', { createIfMissing: true })

  /** A request to the service; @throws when it is not answered with success. */
  async function request (path: string, json?: unknown, init: RequestInit = {}) {
    const response = await fetch(url + path, {
      method: json === undefined ? 'GET' : 'POST',
      ...init,
      headers: { 'x-api-key': apiKey, ...(json !== undefined && { 'content-type': 'application/json' }), ...init.headers },
      ...(json !== undefined && { body: JSON.stringify(json) })
    })
    if (!response.ok) throw new Error(`${path}: ${response.status} ${await response.text()}`)
    return response
  }

  async function close () {
    client.close()
    for (const child of [service, emulator]) {
      child.kill('SIGTERM')
      if (child.exitCode === null) await once(child, 'exit')
    }
    await rm(dataDir, { recursive: true, force: true })
  }

  return { url, apiKey, client, app, request, close, servicePid: service.pid! }
}

export type Stage = Awaited<ReturnType<typeof openStage>>

/** The sandbox as the bare SDK makes it: the same image and volume mount as the service's. */
export async function bareSandbox ({ client, app }: { client: ModalClient, app: App }): Promise<Sandbox> {
  const image = await client.images.fromRegistry('local').build(app)
  const volume = await client.volumes.fromName('bench', { createIfMissing: true })
  return await client.sandboxes.create(app, image, { timeoutMs: 600_000, volumes: { '/workspace': volume }, workdir: '/workspace' })
}

/** Resident memory of a process in KiB, as the kernel counts it. */
export async function residentKiB (pid: number): Promise<number> {
  const status = await readFile(`/proc/${pid}/status`, 'utf8')
  return Number(/VmRSS:\s+(\d+)/.exec(status)![1])
}

async function readExports (emulator: ChildProcess): Promise<Record<string, string>> {
  const variables: Record<string, string> = {}
  for await (const line of createInterface({ input: emulator.stdout! })) {
    const [, name, value] = /^export (\w+)='?([^']*)'?$/.exec(line) ?? []
    if (name !== undefined) variables[name] = value!
    if (Object.keys(variables).length === 3) break
  }
  emulator.stdout!.resume()
  return variables
}

async function readUrl (service: ChildProcess): Promise<string> {
  for await (const line of createInterface({ input: service.stdout! })) {
    const url = /"msg":"open (http:[^"# ]+)/.exec(line)?.[1]
    if (url === undefined) continue
    service.stdout!.resume()
    return url
  }
  throw new Error('the service did not start')
}

export function percentile (values: number[], share: number): number {
  const sorted = values.toSorted((one, other) => one - other)
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))]!
}

export const median = (values: number[]): number => percentile(values, 0.5)
