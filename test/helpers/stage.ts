import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { removeTree } from '../../emulator/container/host.js'
import { digest, randomId } from '../../lib/ids.js'
import { isolation } from './isolation.js'
import { spawnNode } from './spawn-node.js'
import { strict } from './strict.js'

const apiKey = randomId('key')
const root = fileURLToPath(new URL('../..', import.meta.url))

/** One process of the service, a client of the emulator as it would be of Modal. */
export interface Replica {
  url: string
  apiKey: string
  process: ChildProcess
  request (path: string, init?: RequestInit & { json?: unknown }): Promise<Response>
  /** Ends it at once, as a crash would. */
  kill (): Promise<void>
}

/**
 * The emulator in Modal's place, in a process of its own, and any number of services: each can be killed and started
 * again.
 */
export async function openStage (env: Record<string, string> = {}) {
  const dataDir = await mkdtemp(join(tmpdir(), 'modal-sandbox-stage-'))
  const clean = { PATH: process.env.PATH!, ...(process.env.TMPDIR !== undefined && { TMPDIR: process.env.TMPDIR }) }
  const children = new Set<ChildProcess>()
  const run = (file: string, more: Record<string, string>) => {
    const child = spawnNode([join(root, file)], {
      cwd: root, env: { ...clean, DATA_DIR: dataDir, EMULATOR_RUNTIME: isolation, ...more }, stdio: ['ignore', 'pipe', 'inherit']
    })
    children.add(child)
    child.once('exit', () => children.delete(child))
    return child
  }
  const emulator = run('emulator/main.ts', { EMULATOR_PORT: '0', EMULATOR_NETWORK: 'host', EMULATOR_STRICT: strict, LOG_LEVEL: 'fatal' })
  const modal: Record<string, string> = {}
  await firstLine(emulator, (line) => {
    const [, name, value] = /^export (\w+)='?([^']*)'?$/.exec(line) ?? []
    if (name !== undefined) modal[name] = value!
    return Object.keys(modal).length === 3
  })

  async function startReplica (more: Record<string, string> = {}): Promise<Replica> {
    const child = run('server.ts', {
      ...modal,
      PORT: '0',
      CLAUDE_IMAGE: 'local',
      LOG_LEVEL: 'info',
      ACCOUNTS: JSON.stringify([{
        id: 'stage', apiKeys: [`sha256:${digest(apiKey)}`], limits: { sandboxes: 100, runs: 1000, requestsPerMinute: 1e6 }
      }]),
      ...env,
      ...more
    })
    let url = ''
    await firstLine(child, (line) => {
      url = /"msg":"Server listening at (http:[^"]+)"/.exec(line)?.[1] ?? ''
      return url !== ''
    })
    return {
      url,
      apiKey,
      process: child,
      async request (path, { json, ...init } = {}) {
        return await fetch(url + path, {
          ...json !== undefined && { method: 'POST', body: JSON.stringify(json) },
          ...init,
          headers: { 'x-api-key': apiKey, ...json !== undefined && { 'content-type': 'application/json' }, ...init.headers }
        })
      },
      async kill () {
        child.kill('SIGKILL')
        if (child.exitCode === null && child.signalCode === null) await once(child, 'exit')
      }
    }
  }

  async function close () {
    for (const child of [...children].filter((child) => child !== emulator).concat(emulator)) {
      child.kill('SIGTERM')
      if (child.exitCode === null && child.signalCode === null) await once(child, 'exit')
    }
    await removeTree(dataDir)
  }

  return { startReplica, close, modal }
}

export type Stage = Awaited<ReturnType<typeof openStage>>

/** Reads a process' lines until one is what was waited for; the rest goes nowhere. */
async function firstLine (child: ChildProcess, isIt: (line: string) => boolean): Promise<void> {
  for await (const line of createInterface({ input: child.stdout! })) {
    if (!isIt(line)) continue
    child.stdout!.resume()
    return
  }
  throw new Error('the process did not start')
}
