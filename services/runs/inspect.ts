import type { ModalClient } from 'modal'
import { callModal, lookupMs } from '../modal/call.js'
import type { OwnedSandbox } from '../sandboxes/owned.js'
import { LogParser, maxLineBytes, type LogOptions, type ParsedEvent } from './log-parser.js'
import type { EndedRecord, StartedRecord } from './records.js'
import { endAndList, endRun, existingRuns, listRuns, readLog, settleRun, type ListedRun } from './run-directory.js'
import { RunState } from './run-state.js'

const pageBytes = 4 * 1024 * 1024
const tailBytes = 1024 * 1024
/** One line and the end of the one before. */
const mostBytes = maxLineBytes + pageBytes
/** The result is among the last objects that the CLI says. */
const lastObjects = 3
/** A run whose own limit, and that of the replica that has started it, have not ended it for so long is ended. */
const overdueMs = 30_000

/** What the sandbox says about a run. */
export interface RunSnapshot {
  started: StartedRecord
  state: RunState
  size: number
  /** Absent while it goes on; `lost: 'stream'` when it cannot be known any more how it ended. */
  ending?: EndedRecord | { stop: '', exitCode: null, lost: 'stream' }
}

export interface RunInspectorOptions {
  client: ModalClient
  /** The owner that a sandbox's Modal tags name. */
  ownerOf: (tags: Record<string, string>) => string | undefined
}

/** Learns about runs from their sandbox, and records the ends of those that were lost. */
export class RunInspector {
  readonly #options: RunInspectorOptions

  constructor (options: RunInspectorOptions) {
    this.#options = options
  }

  /** @returns undefined when there is no run of that name. @throws {AppError} SANDBOX_ENDED. */
  async inspect (owned: OwnedSandbox, runId: string): Promise<RunSnapshot | undefined> {
    const [found] = await listRuns(owned, { only: runId })
    return found && await this.#toSnapshot(owned, found)
  }

  /**
   * Ends a run of this sandbox, and says what became of it; of another one only the latter.
   * @throws {AppError} RUN_NOT_ENDED, SANDBOX_ENDED.
   */
  async end (owned: OwnedSandbox, runId: string): Promise<RunSnapshot | undefined> {
    const found = await endAndList(owned, runId)
    return found && await this.#toSnapshot(owned, found)
  }

  /** All runs except those that are known. @throws {AppError} SANDBOX_ENDED. */
  async inspectAll (owned: OwnedSandbox, known: string[]): Promise<RunSnapshot[]> {
    const snapshots: RunSnapshot[] = []
    for (const found of await listRuns(owned, { known })) {
      const snapshot = await this.#toSnapshot(owned, found)
      if (snapshot !== undefined) snapshots.push(snapshot)
    }
    return snapshots
  }

  /** Those of the runs that have a log. @throws {AppError} SANDBOX_ENDED. */
  async existing (owned: OwnedSandbox, runIds: string[]): Promise<string[]> {
    return await existingRuns(owned, runIds)
  }

  async #toSnapshot (owned: OwnedSandbox, found: ListedRun): Promise<RunSnapshot | undefined> {
    const state = new RunState()
    const options = { run: found.id, format: 'stream-json' as const, secrets: [] }
    for (const event of new LogParser(options).push(found.head)) state.apply(event)
    if (state.started === undefined) return
    // Whatever its log says: it is here that its processes are.
    if (found.active || found.left) state.started = { ...state.started, sandboxId: owned.id }
    const { started } = state
    const snapshot = { started, state, size: found.size }
    const isOverdue = Date.now() > Date.parse(started.startedAt) + started.timeoutMs + overdueMs
    if (found.active && !isOverdue) return snapshot

    const tailOptions = { ...options, format: started.format }
    if (found.active) {
      await endRun(owned, found.id, 'timeout')
    } else {
      const tail = await readTail(owned, tailOptions, found, state)
      if (tail.ended !== undefined && !found.left) return { ...snapshot, state: tail, ending: tail.ended }
      const isHere = started.sandboxId === owned.id
      if (!isHere && await this.isRunning(owned, started.sandboxId)) return snapshot
      await settleRun(owned, found.id, isHere ? undefined : 'sandbox')
    }
    const [again] = await listRuns(owned, { only: found.id })
    if (again === undefined) return
    const last = await readTail(owned, tailOptions, again, state)
    return { started, state: last, size: again.size, ending: last.ended ?? { stop: '', exitCode: null, lost: 'stream' } }
  }

  /** Whether another sandbox on this volume is running. The id comes from the volume: it may be another account's. */
  async isRunning ({ owner }: OwnedSandbox, sandboxId: string): Promise<boolean> {
    const { client, ownerOf } = this.#options
    if (!/^sb-[A-Za-z0-9-]{1,100}$/.test(sandboxId)) return false
    return await callModal('poll', lookupMs, async () => {
      const sandbox = await client.sandboxes.fromId(sandboxId)
      if (ownerOf(await sandbox.getTags()) !== owner) return false
      return await sandbox.poll() === null
    }, { notFound: 'SANDBOX_NOT_FOUND', invalid: 'SANDBOX_NOT_FOUND' }).catch((error: { code?: string }) => {
      // When Modal cannot be asked, nothing is known, and nothing may be recorded.
      if (error.code !== 'SANDBOX_NOT_FOUND') throw error
      return false
    })
  }
}

/** The state of a run that is over, with the result that the end of its log names. */
export async function readFinalState (owned: OwnedSandbox, started: StartedRecord, known: RunState): Promise<RunState> {
  const [found] = await listRuns(owned, { only: started.run })
  if (found === undefined) return known
  const options = { run: started.run, format: started.format, secrets: [] }
  return Object.assign(await readTail(owned, options, found, known), { ended: known.ended })
}

/** Events of a log after a position, and the record of its end when it comes next, whether or not that is true. */
export interface Page { events: ParsedEvent[], last: ParsedEvent | undefined }

/**
 * Reads the next events after a position from the file: some, as long as there is one that is complete.
 * @param isReader whether this counts as reading the run, and keeps it going.
 * @throws {AppError} RUN_NOT_FOUND when there is no log any more, SANDBOX_ENDED.
 */
export async function readPage (owned: OwnedSandbox, options: LogOptions, isReader: boolean): Promise<Page> {
  for (let size = pageBytes; ; size = Math.min(size * 4, mostBytes)) {
    const bytes = await readLog(owned, options.run, options.offset ?? 0, size, isReader ? `p${Date.now()}` : '')
    const parser = new LogParser(options)
    const events = parser.push(bytes)
    const end = events.findIndex(({ record }) => record?.record === 'ended')
    const last = end === -1 ? parser.last : events[end]
    if (end !== -1) events.length = end
    if (events.length > 0 || last !== undefined || bytes.length < size || size === mostBytes) return { events, last }
  }
}

/**
 * What the end of a log says: its end record and, where there is one, the result before it.
 * @param known what its beginning says.
 */
async function readTail (
  owned: OwnedSandbox, options: LogOptions, { size, tail }: ListedRun, known: RunState
): Promise<RunState> {
  let bytes = tail
  for (const more of [tailBytes, mostBytes, 0]) {
    // The first line may be cut; that of the whole log is the start record.
    const from = bytes.length < size ? bytes.indexOf('\n') + 1 : 0
    const state = new RunState()
    state.started = known.started
    state.fallbackSession = known.namedSession
    const parser = new LogParser({ ...options, offset: size - bytes.length + from })
    const events = parser.push(bytes.subarray(from))
    for (const event of events) state.apply(event)
    if (parser.last !== undefined) state.apply(parser.last)
    const objects = events.filter(({ object }) => object !== undefined).length
    const enough = state.hasResult || options.format === 'text' || objects >= lastObjects || bytes.length >= size
    if (enough || more === 0) return state
    bytes = await readLog(owned, options.run, Math.max(0, size - more), more)
  }
  throw new Error('unreachable')
}
