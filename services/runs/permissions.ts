import { AppError, wrap } from '../../errors.js'
import type { PendingPermission, PermissionAnswer } from '../../schemas/run.js'
import { runCommand } from '../modal/process.js'
import { loadScript } from '../modal/script.js'
import type { OwnedSandbox } from '../sandboxes/owned.js'
import { LogParser, maxLineBytes } from './log-parser.js'
import { readRecord, type AskedRecord } from './records.js'
import { describeRequest, responseTo } from './requests.js'
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
  const state = new RunState()
  for (const event of new LogParser({ run: runId, format: 'stream-json', secrets }).push(stdout)) state.apply(event)
  return state.pendingPermissions
}

/**
 * Answers a request of Claude's. Only the first answer counts, whatever replica it comes through.
 * @returns what kind of request it was.
 * @throws {AppError} BAD_REQUEST, PERMISSION_NOT_FOUND, PERMISSION_RESOLVED, RUN_FAILED, SANDBOX_ENDED.
 */
export async function answerPermission (
  owned: OwnedSandbox, runId: string, id: string, answer: PermissionAnswer
): Promise<PendingPermission['kind']> {
  const request = await readRequest(owned, runId, id)
  const stdin = `${JSON.stringify(responseTo(request, answer))}\n`
  const command = ['sh', '-c', answerScript, 'answer-permission', stateOf(runId), runId, id, answer.decision, 'user']
  const { exitCode, stderr } = await runCommand(owned.sandbox, 'answer', command, { stdin })
  checkThere(exitCode)
  if (exitCode !== 0) throw wrap(new Error(`exit code ${exitCode}: ${stderr}`), 'answer', 'RUN_FAILED')
  return describeRequest(request).kind
}

/** A request, listed or not, as Claude made it: its input goes back to Claude, so nothing is redacted. */
async function readRequest (owned: OwnedSandbox, runId: string, id: string): Promise<AskedRecord> {
  if (!/^[A-Za-z0-9-]{1,100}$/.test(id)) throw new AppError('PERMISSION_NOT_FOUND')
  const command = ['sh', '-c', readScript, 'read-permission', stateOf(runId), id]
  const { exitCode, stdout } = await runCommand(owned.sandbox, 'read permission', command, { limit: maxLineBytes })
  checkThere(exitCode)
  // Behind the byte that begins a record.
  const record = readRecord(stdout.toString('utf8', 1))
  const isIt = record?.record === 'asked' && record.run === runId && record.request.request_id === id
  if (!isIt) throw new AppError('PERMISSION_NOT_FOUND')
  return record
}

function checkThere (exitCode: number) {
  if (exitCode === exitUnknown) throw new AppError('PERMISSION_NOT_FOUND')
  if (exitCode === exitResolved) throw new AppError('PERMISSION_RESOLVED')
}
