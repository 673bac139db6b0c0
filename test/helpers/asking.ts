import { setTimeout as sleep } from 'node:timers/promises'
import { readSse, type ReceivedEvent } from './service.js'

export type Request = (path: string, init?: RequestInit & { json?: unknown, as?: 'alice' | 'bob' }) => Promise<Response>
type Answer = { status: number, body: any }

/** A prompt that the scripted model answers with these turns. */
export const scripted = (...turns: unknown[]) => `Please\n\`\`\`scripted\n${JSON.stringify(turns)}\n\`\`\``
export const bash = (command: string) => ({ tool: 'Bash', input: { command } })

/** A request as the CLI writes it, of a Claude that is none. */
export const asks = (name: string, more: object = {}) => JSON.stringify({
  type: 'control_request', request_id: name, request: { subtype: 'can_use_tool', tool_name: 'Bash', input: { command: 'x' }, ...more }
})
export const result = "echo '{\"type\":\"result\",\"is_error\":false,\"session_id\":\"s-1\"}'"

/** Runs of one sandbox in which Claude asks. */
export function client (request: Request, id: string) {
  const path = `/api/modal/sandbox/${id}/claude`
  const start = async (body: object, init: RequestInit = {}) =>
    await request(path, { method: 'POST', json: { permissionMode: 'ask', ...body }, ...init })
  const answer = async (runId: string, permission: string, body: object): Promise<Answer> => {
    const response = await request(`${path}/${runId}/permissions/${permission}`, { method: 'POST', json: body })
    return { status: response.status, body: await response.json() }
  }
  /** Starts a run without a reader, and waits until it waits for so many answers. */
  const wait = async (body: object, count = 1): Promise<{ runId: string, asked: any[] }> => {
    const { runId } = await json(start({ onDisconnect: 'continue', ...body }, { headers: { prefer: 'respond-async' } }))
    for (;;) {
      const { status, pendingPermissions: asked } = await json(request(`${path}/${runId}`))
      if (asked.length >= count) return { runId, asked }
      if (status === 'completed') throw new Error('the run did not ask')
      await sleep(50)
    }
  }
  return { path, start, answer, wait }
}

export async function create (request: Request, as: 'alice' | 'bob' = 'alice', more: object = {}): Promise<string> {
  return (await json(request('/api/modal/sandbox', { method: 'POST', as, json: { volume: { name: 'work' }, ...more } }))).id
}

export async function exec (request: Request, id: string, script: string, stdin = ''): Promise<string> {
  return (await json(request(`/api/modal/sandbox/${id}/exec`, {
    method: 'POST', json: { command: ['sh', '-c', script], stdin }, headers: { accept: 'application/json' }
  }))).stdout
}

/** Events but heartbeats, to the end or until `isLast` says so. */
export async function read (
  response: Response, isLast: (event: ReceivedEvent, received: ReceivedEvent[]) => unknown = () => false
): Promise<ReceivedEvent[]> {
  if (!response.ok) throw new Error(await response.text())
  const received: ReceivedEvent[] = []
  for await (const event of readSse(response)) {
    if (event.event === 'heartbeat') continue
    received.push(event)
    if (await isLast(event, received) === true) break
  }
  return received
}

export async function json (response: Promise<Response>): Promise<any> {
  return await (await response).json()
}

export async function settled (request: Request, path: string): Promise<any> {
  for (let tries = 0; tries < 200; tries++) {
    const run = await json(request(path))
    if (run.status === 'completed') return run
    await sleep(100)
  }
}
