import { randomUUID } from 'node:crypto'
import type { ModalClient, Secret } from 'modal'
import { chain } from '../../errors.js'
import type { Log } from '../../lib/log.js'
import type { RunSpec } from '../../schemas/run.js'
import { callModal } from '../modal/call.js'
import { sandboxGone, SandboxProcess } from '../modal/process.js'
import type { OwnedSandbox } from '../sandboxes/owned.js'
import { promptText, runCommand, runEnvironment } from './command.js'
import { buryRun, prepareRun, stopRun } from './directory.js'
import { silenceMs } from './follow.js'
import type { StartedRecord } from './records.js'
import { callMs } from './shell.js'
import { checkArguments } from './spec.js'

/** On top of the runner's own timer: Modal's, in case somebody has ended the runner. */
const backstopMs = 60_000

export interface LaunchOptions {
  client: ModalClient
  model: { env: Readonly<Record<string, string>>, secretName?: string | undefined }
  timeouts: { disconnectGraceMs: number, timeoutMs: number, permissionMs: number }
}

export interface Launch {
  id: string
  owned: OwnedSandbox
  spec: RunSpec
  log: Log
  /** Notes the run at its sandbox, while Claude is being started. */
  note: () => Promise<void>
}

/** What the run's log begins with, and the process whose output is that log. */
export interface Launched { started: StartedRecord, runner: SandboxProcess }

/** @throws {AppError} BAD_REQUEST, RUN_ACTIVE, SANDBOX_ENDED, CLAUDE_FAILED; then nothing of the run is left. */
export async function launch (
  { client, model, timeouts }: LaunchOptions, { id, owned, spec, log, note }: Launch
): Promise<Launched> {
  const timeoutMs = spec.timeoutMs ?? timeouts.timeoutMs
  const started = startedRecord(id, owned, spec, timeoutMs)
  const { disconnectGraceMs: graceMs, permissionMs } = timeouts
  const command = runCommand(owned, id, spec, started.sessionId, { timeoutMs, graceMs, permissionMs })
  checkArguments(command)
  const secrets = await lookUpSecret(client, model.secretName)
  await prepareRun(owned, started, promptText(spec))
  const noted = note().catch((error: unknown) => {
    log.warn({ runId: id, chain: chain(error) }, 'run not noted at its sandbox')
  })
  const runner = await SandboxProcess.start(owned.sandbox, command, {
    step: 'start Claude',
    silenceMs,
    workdir: owned.workdir,
    timeoutMs: timeoutMs + backstopMs,
    env: { ...model.env, ...runEnvironment(owned) },
    secrets,
    meanings: { ...sandboxGone, invalid: 'CLAUDE_FAILED' }
  }).catch(async (error: unknown) => {
    await takeBack(id, owned).catch((cause: unknown) => log.warn({ runId: id, chain: chain(cause) }, 'run not taken back'))
    throw error
  })
  await noted
  return { started, runner }
}

function startedRecord (id: string, owned: OwnedSandbox, spec: RunSpec, timeoutMs: number): StartedRecord {
  return {
    record: 'started',
    run: id,
    sandboxId: owned.id,
    sessionId: spec.continue ? null : spec.sessionId ?? randomUUID(),
    startedAt: new Date().toISOString(),
    prompt: [...spec.prompt].slice(0, 200).join(''),
    format: spec.outputFormat ?? 'stream-json',
    onDisconnect: spec.onDisconnect ?? 'terminate',
    timeoutMs,
    ...spec.permissionMode === 'ask' && { asks: true }
  }
}

/** The Modal secret with the model key, when the operator named one. A wrong name is not the client's mistake. */
async function lookUpSecret (client: ModalClient, name: string | undefined): Promise<Secret[]> {
  if (name === undefined) return []
  return [await callModal('model secret', callMs, () => client.secrets.fromName(name), { notFound: 'CLAUDE_FAILED' })]
}

/** A start that failed may have happened all the same. */
async function takeBack (id: string, owned: OwnedSandbox): Promise<void> {
  await stopRun(owned, id, 'cancelled')
  await buryRun(owned, id, 'runner')
}
