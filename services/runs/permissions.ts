import { AppError, wrap } from '../../errors.js'
import type { PendingPermission, PermissionAnswer } from '../../schemas/run.js'
import type { OwnedSandbox } from '../sandboxes/owned.js'
import { stateOf } from './directory.js'
import type { AskedRecord } from './records.js'
import { script, shell } from './shell.js'

const answer = script('answer.sh')
const pending = script('pending.sh')
const unknown = 66
const resolved = 75
/** What is kept and told of a run's open requests: the agent can write as many as it likes. */
const keptRequests = 100
const keptBytes = 2 * 1024 * 1024

export function pendingOf ({ at, patience, request: { request_id: id, request } }: AskedRecord): PendingPermission {
  const time = (ms: number) => new Date(ms).toISOString()
  const { tool_name: toolName, input } = request
  return { id, toolName, input, requestedAt: time(at * 1000), expiresAt: time(at * 1000 + patience) }
}

/** Requests without an answer, oldest first. One that is too many is not listed; it can be answered all the same. */
export class OpenRequests {
  readonly #requests = new Map<string, { request: PendingPermission, bytes: number }>()
  #bytes = 0

  get all (): PendingPermission[] {
    return [...this.#requests.values()].map(({ request }) => request)
  }

  /** @param json as the event tells it. */
  add (json: string): void {
    const request = JSON.parse(json) as PendingPermission
    const full = this.#requests.size >= keptRequests || this.#bytes + json.length > keptBytes
    if (full || this.#requests.has(request.id)) return
    this.#requests.set(request.id, { request, bytes: json.length })
    this.#bytes += json.length
  }

  remove (id: string): void {
    this.#bytes -= this.#requests.get(id)?.bytes ?? 0
    this.#requests.delete(id)
  }
}

/** The records of a run's open requests, as its sandbox has them. */
export async function readPending (owned: OwnedSandbox, runId: string): Promise<Buffer> {
  const argv = ['sh', '-c', pending, 'pending', stateOf(runId), String(keptBytes)]
  return (await shell(owned, 'read permissions', argv, { limit: keptBytes })).stdout
}

/**
 * Answers a request of Claude's. Of several answers, at whatever replica, one counts.
 * @throws {AppError} BAD_REQUEST, PERMISSION_NOT_FOUND, PERMISSION_RESOLVED, SANDBOX_ENDED.
 */
export async function answerRequest (
  owned: OwnedSandbox, runId: string, id: string, { decision, message }: PermissionAnswer
): Promise<void> {
  if (decision === 'allow' && message !== undefined) {
    throw new AppError('BAD_REQUEST', { message: 'body.message goes with body.decision deny.' })
  }
  if (!/^[A-Za-z0-9-]{1,100}$/.test(id)) throw new AppError('PERMISSION_NOT_FOUND')
  const told = decision === 'allow' ? { behavior: 'allow' } : { behavior: 'deny', message: message ?? 'The user does not allow this.' }
  const argv = ['sh', '-c', answer, 'answer', stateOf(runId), runId, id, decision, 'user']
  const { exitCode, stderr } = await shell(owned, 'answer', argv, { stdin: JSON.stringify(told) })
  if (exitCode === unknown) throw new AppError('PERMISSION_NOT_FOUND')
  if (exitCode === resolved) throw new AppError('PERMISSION_RESOLVED')
  if (exitCode !== 0) throw wrap(new Error(`exit code ${exitCode}: ${stderr}`), 'answer', 'CLAUDE_FAILED')
}
