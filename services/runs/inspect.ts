import type { ModalClient } from 'modal'
import { callModal, lookupMs } from '../modal/call.js'
import type { OwnedSandbox } from '../sandboxes/owned.js'
import { LogParser, maxLineBytes, type LogOptions, type ParsedEvent } from './log-parser.js'
import type { EndedRecord, StartedRecord } from './records.js'
import { listRuns, readLog, recordLostEnd, type ListedRun } from './run-directory.js'
import { RunState } from './run-state.js'

const pageBytes = 4 * 1024 * 1024
const tailBytes = 1024 * 1024
/** One line and the end of the one before. */
const mostBytes = maxLineBytes + pageBytes
/** The result is among the last objects that the CLI says. */
const lastObjects = 3

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

  /** All runs except those that are known. @throws {AppError} SANDBOX_ENDED. */
  async inspectAll (owned: OwnedSandbox, known: string[]): Promise<RunSnapshot[]> {
    const snapshots: RunSnapshot[] = []
    for (const found of await listRuns(owned, { known })) {
      const snapshot = await this.#toSnapshot(owned, found)
      if (snapshot !== undefined) snapshots.push(snapshot)
    }
    return snapshots
  }

  async #toSnapshot (owned: OwnedSandbox, found: ListedRun): Promise<RunSnapshot | undefined> {
    const state = new RunState()
    const options = { run: found.id, format: 'stream-json' as const, secrets: [] }
    for (const event of new LogParser(options).push(found.head)) state.apply(event)
    const { started } = state
    if (started === undefined) return
    const snapshot = { started, state, size: found.size }
    if (found.active) return snapshot

    const tailOptions = { ...options, format: started.format }
    const tail = await readTail(owned, tailOptions, found.size, found.tail)
    if (tail.ended !== undefined) return { ...snapshot, state: merge(state, tail), ending: tail.ended }
    const isHere = started.sandboxId === owned.id
    if (!isHere && await this.#isRunning(owned, started.sandboxId)) return snapshot
    await recordLostEnd(owned, found.id, isHere ? 'runner' : 'sandbox')
    const [again] = await listRuns(owned, { only: found.id })
    if (again === undefined) return
    const last = await readTail(owned, tailOptions, again.size, again.tail)
    return { started, state: merge(state, last), size: again.size, ending: last.ended ?? { stop: '', exitCode: null, lost: 'stream' } }
  }

  /** Whether another sandbox on this volume is running. The id comes from the volume: it may be another account's. */
  async #isRunning ({ owner }: OwnedSandbox, sandboxId: string): Promise<boolean> {
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

function merge (head: RunState, tail: RunState): RunState {
  tail.started = head.started
  tail.fallbackSession = head.sessionId
  return tail
}

/** The state of a run that is over, with the result that the end of its log names. */
export async function readFinalState (owned: OwnedSandbox, started: StartedRecord, known: RunState): Promise<RunState> {
  const [found] = await listRuns(owned, { only: started.run })
  if (found === undefined) return known
  const options = { run: started.run, format: started.format, secrets: [] }
  const tail = await readTail(owned, options, found.size, found.tail)
  return Object.assign(tail, { started, ended: known.ended, fallbackSession: known.sessionId })
}

/** Events of a log after a position. Nothing comes after the end record. */
export interface Page { events: ParsedEvent[], ended: boolean }

/**
 * Reads the next events after a position from the file: some, as long as there is one that is complete.
 * @param isReader whether this counts as reading the run, and keeps it going.
 * @throws {AppError} RUN_NOT_FOUND when there is no log any more, SANDBOX_ENDED.
 */
export async function readPage (owned: OwnedSandbox, options: LogOptions, isReader: boolean): Promise<Page> {
  for (let size = pageBytes; ; size = Math.min(size * 4, mostBytes)) {
    const bytes = await readLog(owned, options.run, options.offset ?? 0, size, isReader ? `p${Date.now()}` : '')
    const events = new LogParser(options).push(bytes)
    const end = events.findIndex(({ record }) => record?.record === 'ended')
    if (end !== -1) events.length = end + 1
    if (events.length > 0 || bytes.length < size || size === mostBytes) return { events, ended: end !== -1 }
  }
}

/** What the end of a log says: its end record and, where there is one, the result before it. */
async function readTail (owned: OwnedSandbox, options: LogOptions, size: number, tail: Buffer): Promise<RunState> {
  let bytes = tail
  for (const more of [tailBytes, mostBytes, 0]) {
    // The first line may be cut; that of the whole log is the start record.
    const from = bytes.length < size ? bytes.indexOf('\n') + 1 : 0
    const state = new RunState()
    const events = new LogParser({ ...options, offset: size - bytes.length + from }).push(bytes.subarray(from))
    for (const event of events) state.apply(event)
    const objects = events.filter(({ object }) => object !== undefined).length
    const enough = state.hasResult || options.format === 'text' || objects >= lastObjects || bytes.length >= size
    if (enough || more === 0) return state
    bytes = await readLog(owned, options.run, Math.max(0, size - more), more)
  }
  throw new Error('unreachable')
}
