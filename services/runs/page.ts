import type { OwnedSandbox } from '../sandboxes/owned.js'
import { readLog } from './directory.js'
import { maxLineBytes } from './lines.js'
import { OutputParser, type OutputOptions, type ParsedEvent } from './output.js'
import { RunState } from './state.js'

const pageBytes = 4 * 1024 * 1024
const tailBytes = 1024 * 1024
/** One line and the end of the one before. */
const mostBytes = maxLineBytes + pageBytes
/** The result is among the last objects that the CLI says. */
const lastObjects = 3

/** Events of a log that follow one position. Nothing comes after the end record. */
export interface Page { events: ParsedEvent[], ended: boolean }

/**
 * Reads the next events after a position from the file: some, as long as there is one that is complete.
 * @param beat whether the run has to know that somebody reads.
 * @throws {AppError} RUN_NOT_FOUND when there is no log any more, SANDBOX_ENDED.
 */
export async function readPage (owned: OwnedSandbox, options: OutputOptions, beat: boolean): Promise<Page> {
  for (let size = pageBytes; ; size = Math.min(size * 4, mostBytes)) {
    const bytes = await readLog(owned, options.run, options.offset ?? 0, size, beat ? `p${Date.now()}` : '')
    const events = new OutputParser(options).push(bytes)
    const end = events.findIndex(({ record }) => record?.record === 'ended')
    if (end !== -1) events.length = end + 1
    if (events.length > 0 || bytes.length < size || size === mostBytes) return { events, ended: end !== -1 }
  }
}

/** What the end of a log says: its end record and, where there is one, the result before it. */
export async function readTail (
  owned: OwnedSandbox, options: OutputOptions, size: number, tail: Buffer
): Promise<RunState> {
  let bytes = tail
  for (const more of [tailBytes, mostBytes, 0]) {
    // The first line may be cut; the whole log's is the start record.
    const from = bytes.length < size ? bytes.indexOf('\n') + 1 : 0
    const state = new RunState()
    const events = new OutputParser({ ...options, offset: size - bytes.length + from }).push(bytes.subarray(from))
    for (const event of events) state.see(event)
    const objects = events.filter(({ object }) => object !== undefined).length
    const enough = state.hasResult || options.format === 'text' || objects >= lastObjects || bytes.length >= size
    if (enough || more === 0) return state
    bytes = await readLog(owned, options.run, Math.max(0, size - more), more)
  }
  throw new Error('unreachable')
}
