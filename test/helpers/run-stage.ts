import { setTimeout as sleep } from 'node:timers/promises'
import type { Test } from 'tap'
import type { Account } from '../../schemas/account.js'
import type { RunView } from '../../schemas/run.js'
import { RunService } from '../../services/runs/service.js'
import { decodeTags } from '../../services/sandboxes/tags.js'
import { readSse, startService, type ReceivedEvent } from './service.js'

const log = { info () {}, warn () {}, error () {} }
const timeouts = { disconnectGraceMs: 60_000, timeoutMs: 120_000, permissionMs: 600_000 }

/** A prompt that has the real CLI run a command with its Bash tool. */
export const bash = (command: string) =>
  `Please\n\`\`\`scripted\n${JSON.stringify([[{ tool: 'Bash', input: { command } }], [{ text: 'all done' }]])}\n\`\`\``

/** A service with a sandbox, what is needed to attack its runs from inside, and other replicas that look at them. */
export async function openRuns (t: Test, env: Record<string, string> = {}) {
  const service = await startService({ RUN_DISCONNECT_GRACE_MS: '60000', SANDBOX_TIMEOUT_MS: '900000', ...env })
  t.teardown(service.close)
  const account = service.config.accounts![0] as Account
  const { modal, sandboxes } = service.app

  async function create (more: object = {}): Promise<string> {
    const json = { volume: { name: 'work' }, ...more }
    const response = await service.request('/api/modal/sandbox', { method: 'POST', json })
    return (await response.json() as { id: string }).id
  }

  const id = await create({ env: { PATH: '/workspace/bin:/usr/local/bin:/usr/bin:/bin' } })
  const owned = await sandboxes.open(account, id)

  async function exec (script: string, stdin = '', sandbox = id): Promise<string> {
    const response = await service.request(`/api/modal/sandbox/${sandbox}/exec`, {
      method: 'POST', json: { command: ['sh', '-c', script], stdin }, headers: { accept: 'application/json' }
    })
    return (await response.json() as { stdout: string }).stdout.trim()
  }

  /** Puts a program in Claude's place; without one it is the real CLI. */
  async function claude (script?: string, sandbox = id) {
    const install = 'mkdir -p bin && cat > bin/claude && chmod +x bin/claude'
    await exec(script === undefined ? 'rm -f bin/claude' : install, `#!/bin/sh\n${script}\n`, sandbox)
  }

  /** Starts a run and follows it; `events` grow, and `ended` has all of them. */
  async function start (body: object, sandbox = id) {
    const path = `/api/modal/sandbox/${sandbox}/claude`
    const response = await service.request(path, { method: 'POST', json: { prompt: 'x', ...body } })
    if (!response.ok) throw new Error(await response.text())
    const events: ReceivedEvent[] = []
    let begin!: (runId: string) => void
    const begun = new Promise<string>((resolve) => { begin = resolve })
    const ended = (async () => {
      for await (const event of readSse(response)) {
        events.push(event)
        if (event.event === 'run.started') begin(event.data.runId)
      }
      return events
    })()
    const runId = await begun
    const view = async () => await (await service.request(`${path}/${runId}`)).json() as RunView
    const cancel = async () => await (await service.request(`${path}/${runId}/cancel`, { method: 'POST' })).json() as any
    return { runId, path, events, ended, view, cancel, state: `/tmp/.modal-sandbox/${runId}` }
  }

  const replica = () => {
    const runs = new RunService({
      client: modal.client,
      log,
      model: { env: modal.modelEnv },
      timeouts,
      ownerOf: (tags) => decodeTags(tags)?.owner
    })
    t.teardown(async () => { await runs.close() })
    return runs
  }

  /** How many processes sleep for so many seconds. */
  async function sleeping (seconds: number): Promise<number> {
    return Number(await exec(`n=0; for f in /proc/[0-9]*/cmdline; do
      case "$(tr '\\0' ' ' < $f 2>/dev/null)" in 'sleep ${seconds} ') n=$((n+1));; esac; done; echo $n`))
  }

  return { service, account, owned, id, create, exec, claude, start, replica, sleeping, until }
}

/** Waits for something that must become true. */
export async function until<T> (look: () => Promise<T> | T, limitMs = 60_000): Promise<T> {
  for (const end = Date.now() + limitMs; ;) {
    const found = await look()
    if (found) return found
    if (Date.now() > end) throw new Error(`never true: ${look.toString().slice(0, 100)}`)
    await sleep(100)
  }
}
