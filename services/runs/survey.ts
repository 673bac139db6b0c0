import type { ModalClient } from 'modal'
import type { PendingPermission } from '../../schemas/run.js'
import { callModal, lookupMs } from '../modal/call.js'
import type { OwnedSandbox } from '../sandboxes/owned.js'
import { decodeTags } from '../sandboxes/tags.js'
import { buryRun, scanRuns, type ScannedRun } from './directory.js'
import { OutputParser } from './output.js'
import { readTail } from './page.js'
import { readPending } from './permissions.js'
import type { EndedRecord, StartedRecord } from './records.js'
import { RunState } from './state.js'

/** What the sandbox says of a run. */
export interface Survey {
  started: StartedRecord
  state: RunState
  size: number
  /** Absent while it goes on; `lost: 'stream'` when nobody can say any more how it ended. */
  ending?: EndedRecord | { stop: '', exitCode: null, lost: 'stream' }
}

/** Looks at one run. @returns undefined when there is none of that name. @throws {AppError} SANDBOX_ENDED. */
export async function surveyRun (client: ModalClient, owned: OwnedSandbox, runId: string): Promise<Survey | undefined> {
  const [found] = await scanRuns(owned, { only: runId })
  return found && await understand(client, owned, found)
}

/** Looks at all runs but those that are known. @throws {AppError} SANDBOX_ENDED. */
export async function surveyRuns (client: ModalClient, owned: OwnedSandbox, known: string[]): Promise<Survey[]> {
  const surveys: Survey[] = []
  for (const found of await scanRuns(owned, { known })) {
    const survey = await understand(client, owned, found)
    if (survey !== undefined) surveys.push(survey)
  }
  return surveys
}

/** What a run of this sandbox waits for. @throws {AppError} SANDBOX_ENDED. */
export async function surveyPermissions (
  owned: OwnedSandbox, runId: string, secrets: readonly string[]
): Promise<PendingPermission[]> {
  const state = new RunState()
  const records = await readPending(owned, runId)
  for (const event of new OutputParser({ run: runId, format: 'stream-json', secrets }).push(records)) state.see(event)
  return state.pendingPermissions
}

/** What is known of a run that is over, with what the end of its log says of its result. */
export async function surveyEnd (owned: OwnedSandbox, started: StartedRecord, known: RunState): Promise<RunState> {
  const [found] = await scanRuns(owned, { only: started.run })
  if (found === undefined) return known
  const options = { run: started.run, format: started.format, secrets: [] }
  const tail = await readTail(owned, options, found.size, found.tail)
  return Object.assign(tail, { started, ended: known.ended, fallbackSession: known.sessionId })
}

async function understand (client: ModalClient, owned: OwnedSandbox, found: ScannedRun): Promise<Survey | undefined> {
  const state = new RunState()
  const options = { run: found.id, format: 'stream-json' as const, secrets: [] }
  for (const event of new OutputParser(options).push(found.head)) state.see(event)
  const { started } = state
  if (started === undefined) return
  const survey = { started, state, size: found.size }
  if (found.alive) return survey

  const tailOptions = { ...options, format: started.format }
  const tail = await readTail(owned, tailOptions, found.size, found.tail)
  if (tail.ended !== undefined) return { ...survey, state: merge(state, tail), ending: tail.ended }
  if (started.sandboxId !== owned.id && await stillRuns(client, owned, started.sandboxId)) return survey
  await buryRun(owned, found.id, started.sandboxId === owned.id ? 'runner' : 'sandbox')
  const [buried] = await scanRuns(owned, { only: found.id })
  if (buried === undefined) return
  const last = await readTail(owned, tailOptions, buried.size, buried.tail)
  return { started, state: merge(state, last), size: buried.size, ending: last.ended ?? { stop: '', exitCode: null, lost: 'stream' } }
}

function merge (head: RunState, tail: RunState): RunState {
  tail.started = head.started
  tail.fallbackSession = head.sessionId
  return tail
}

/** Whether another sandbox on this volume has the run. The id comes from the volume: it may be anybody's. */
async function stillRuns (client: ModalClient, { owner }: OwnedSandbox, sandboxId: string): Promise<boolean> {
  if (!/^sb-[A-Za-z0-9-]{1,100}$/.test(sandboxId)) return false
  return await callModal('poll', lookupMs, async () => {
    const sandbox = await client.sandboxes.fromId(sandboxId)
    if (decodeTags(await sandbox.getTags())?.owner !== owner) return false
    return await sandbox.poll() === null
  }, { notFound: 'SANDBOX_NOT_FOUND', invalid: 'SANDBOX_NOT_FOUND' }).catch((error: { code?: string }) => {
    // When Modal can not be asked, nothing is known, and nothing may be recorded.
    if (error.code !== 'SANDBOX_NOT_FOUND') throw error
    return false
  })
}
