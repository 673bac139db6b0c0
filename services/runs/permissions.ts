import { AppError, wrap } from '../../errors.js'
import type { PendingPermission, PermissionAnswer } from '../../schemas/run.js'
import { runCommand } from '../modal/process.js'
import { loadScript } from '../modal/script.js'
import type { OwnedSandbox } from '../sandboxes/owned.js'
import { LogParser, maxLineBytes } from './log-parser.js'
import { responseTo } from './requests.js'
import { stateOf } from './run-directory.js'
import { RunState } from './run-state.js'

const answerScript = loadScript(import.meta.url, 'answer-permission.sh')
const listScript = loadScript(import.meta.url, 'list-permissions.sh')
const readScript = loadScript(import.meta.url, 'read-permission.sh')
const exitUnknown = 66
const exitResolved = 75
const listedBytes = 2 * 1024 * 1024

/** What a run waits for, as its sandbox knows it. @throws {AppError} SANDBOX_ENDED. */
export async function listPermissions (
  owned: OwnedSandbox, runId: string, secrets: readonly string[]
): Promise<PendingPermission[]> {
  const command = ['sh', '-c', listScript, 'list-permissions', stateOf(runId), String(listedBytes)]
  const { stdout } = await runCommand(owned.sandbox, 'list permissions', command, { limit: listedBytes })
  return requestsIn(stdout, runId, secrets)
}

/**
 * A request that waits, whether or not it is listed.
 * @throws {AppError} PERMISSION_NOT_FOUND, PERMISSION_RESOLVED, SANDBOX_ENDED.
 */
export async function findPermission (
  owned: OwnedSandbox, runId: string, id: string, secrets: readonly string[]
): Promise<PendingPermission> {
  if (!/^[A-Za-z0-9-]{1,100}$/.test(id)) throw new AppError('PERMISSION_NOT_FOUND')
  const command = ['sh', '-c', readScript, 'read-permission', stateOf(runId), id]
  const { exitCode, stdout } = await runCommand(owned.sandbox, 'read permission', command, { limit: maxLineBytes })
  if (exitCode === exitResolved) throw new AppError('PERMISSION_RESOLVED')
  const request = requestsIn(stdout, runId, secrets).find((request) => request.id === id)
  if (request === undefined) throw new AppError('PERMISSION_NOT_FOUND')
  return request
}

function requestsIn (records: Buffer, run: string, secrets: readonly string[]): PendingPermission[] {
  const state = new RunState()
  for (const event of new LogParser({ run, format: 'stream-json', secrets }).push(records)) state.apply(event)
  return state.pendingPermissions
}

/**
 * Answers a request of Claude's. Only the first answer counts, whatever replica it comes through.
 * @throws {AppError} BAD_REQUEST, PERMISSION_NOT_FOUND, PERMISSION_RESOLVED, RUN_FAILED, SANDBOX_ENDED.
 */
export async function answerPermission (
  owned: OwnedSandbox, runId: string, request: PendingPermission, answer: PermissionAnswer
): Promise<void> {
  const stdin = `${JSON.stringify(responseTo(request, answer))}\n`
  const command = ['sh', '-c', answerScript, 'answer-permission', stateOf(runId), runId, request.id, answer.decision, 'user']
  const { exitCode, stderr } = await runCommand(owned.sandbox, 'answer', command, { stdin })
  if (exitCode === exitUnknown) throw new AppError('PERMISSION_NOT_FOUND')
  if (exitCode === exitResolved) throw new AppError('PERMISSION_RESOLVED')
  if (exitCode !== 0) throw wrap(new Error(`exit code ${exitCode}: ${stderr}`), 'answer', 'RUN_FAILED')
}
