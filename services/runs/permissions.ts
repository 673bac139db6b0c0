import { AppError, wrap } from '../../errors.js'
import type { PendingPermission, PermissionAnswer } from '../../schemas/run.js'
import { runCommand } from '../modal/process.js'
import { loadScript } from '../modal/script.js'
import type { OwnedSandbox } from '../sandboxes/owned.js'
import { LogParser } from './log-parser.js'
import { stateOf } from './run-directory.js'
import { RunState } from './run-state.js'

const answerScript = loadScript(import.meta.url, 'answer-permission.sh')
const listScript = loadScript(import.meta.url, 'list-permissions.sh')
const exitUnknown = 66
const exitResolved = 75
const listedBytes = 2 * 1024 * 1024

/** What a run waits for, as its sandbox knows it. @throws {AppError} SANDBOX_ENDED. */
export async function listPermissions (
  owned: OwnedSandbox, runId: string, secrets: readonly string[]
): Promise<PendingPermission[]> {
  const command = ['sh', '-c', listScript, 'list-permissions', stateOf(runId), String(listedBytes)]
  const { stdout } = await runCommand(owned.sandbox, 'list permissions', command, { limit: listedBytes })
  const state = new RunState()
  for (const event of new LogParser({ run: runId, format: 'stream-json', secrets }).push(stdout)) state.apply(event)
  return state.pendingPermissions
}

/**
 * Answers a request for permission. Only the first answer counts, whatever replica it comes through.
 * @throws {AppError} BAD_REQUEST, PERMISSION_NOT_FOUND, PERMISSION_RESOLVED, RUN_FAILED, SANDBOX_ENDED.
 */
export async function answerPermission (
  owned: OwnedSandbox, runId: string, id: string, { decision, message }: PermissionAnswer
): Promise<void> {
  if (decision === 'allow' && message !== undefined) {
    throw new AppError('BAD_REQUEST', { message: 'body.message goes with body.decision deny.' })
  }
  if (!/^[A-Za-z0-9-]{1,100}$/.test(id)) throw new AppError('PERMISSION_NOT_FOUND')
  const response = decision === 'allow' ? { behavior: 'allow' } : { behavior: 'deny', message: message ?? 'The user does not allow this.' }
  const command = ['sh', '-c', answerScript, 'answer-permission', stateOf(runId), runId, id, decision, 'user']
  const { exitCode, stderr } = await runCommand(owned.sandbox, 'answer', command, { stdin: JSON.stringify(response) })
  if (exitCode === exitUnknown) throw new AppError('PERMISSION_NOT_FOUND')
  if (exitCode === exitResolved) throw new AppError('PERMISSION_RESOLVED')
  if (exitCode !== 0) throw wrap(new Error(`exit code ${exitCode}: ${stderr}`), 'answer', 'RUN_FAILED')
}
