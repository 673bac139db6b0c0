import { ByteReader, EndOfStream } from '../../../lib/byte-reader.js'
import type { SandboxCommands } from './commands.js'
import { calls, inputCommand, lostReason, scriptExit, scripts } from './scripts.js'
import {
  changed, gone, isEntry, isUnchanged, readStatRecords, toEntry, unreadable, type StatRecord
} from './stat-records.js'
import { readMember } from './tar.js'
import type { Entry, Problem, ReadEntry } from './workspace.js'

/** A batch is in memory as a whole: only at its end is it known which of its files did not change. */
const batchBytes = 4 * 1024 * 1024
const batchFiles = 256

/** Reads small files and symlinks, each once. @throws {WorkspaceLost} */
export async function * readBatches (
  commands: SandboxCommands, root: string, entries: Entry[]
): AsyncGenerator<ReadEntry | Problem> {
  let queue = batchesOf(entries)
  for (let stuck = 0; queue.length > 0;) {
    const running = await commands.start(inputCommand(root), { stdin: scriptFor(queue) })
    const reader = new ByteReader(running.stdout)
    let done = 0
    let isOver = false
    try {
      for (const batch of queue) {
        yield * await readBatch(reader, batch)
        done++
      }
      isOver = true
      await running.finish()
      return
    } catch (error) {
      if (!(error instanceof EndOfStream)) throw error
      isOver = true
    } finally {
      if (!isOver) running.cancel()
    }
    const { exitCode } = await running.finish().catch(() => ({ exitCode: -1 }))
    queue = queue.slice(done)
    if (exitCode === scriptExit.cut) {
      const [cut, ...rest] = queue
      queue = cut!.length === 1 ? rest : [...cut!.map((entry) => [entry]), ...rest]
      if (cut!.length === 1) yield changed(cut![0]!.path)
    } else if (done > 0) stuck = 0
    else if (++stuck === 3) throw lostReason(exitCode, '')
  }
}

async function readBatch (reader: ByteReader, batch: Entry[]): Promise<(ReadEntry | Problem)[]> {
  const { now, records: before } = await readRecords(reader)
  const bodies = new Map<string, Buffer | undefined>()
  for (let member; (member = await readMember(reader)) !== undefined;) {
    // A hard link that does not carry its file's bytes; only busybox's tar writes it.
    bodies.set(member.name.replace(/^\.\//, ''), member.flag === '1' ? undefined : member.body)
  }
  await reader.skipZeros()
  const after = (await readRecords(reader, false)).records
  return batch.map(({ path }) => {
    const record = after.get(path)
    if (record === undefined || !isEntry(record)) return gone(path)
    if (!bodies.has(path)) return before.has(path) ? unreadable(path) : changed(path)
    const body = bodies.get(path)
    const isWhole = isUnchanged(before.get(path), record, now) && body?.length === record.size
    if (body === undefined || !isWhole) return changed(path)
    return { entry: toEntry(record), body }
  })
}

/** A time, if it is `timed`, and records by path. @throws {EndOfStream} */
export async function readRecords (reader: ByteReader, timed = true) {
  const now = timed ? await reader.until('\n') : undefined
  if (timed && now === undefined) throw new EndOfStream()
  const records = new Map<string, StatRecord>()
  await readStatRecords(reader, (record) => { records.set(record.path, record) })
  return { now: Number(now ?? 0), records }
}

function batchesOf (entries: Entry[]): Entry[][] {
  const batches: Entry[][] = []
  let bytes = Infinity
  for (const entry of entries) {
    if (bytes + entry.size > batchBytes || batches.at(-1)!.length >= batchFiles) {
      batches.push([])
      bytes = 0
    }
    batches.at(-1)!.push(entry)
    bytes += entry.size
  }
  return batches
}

/** One line per batch, however long: the reader relies on it. */
function scriptFor (batches: Entry[][]): string {
  return scripts.read + batches.map((batch) => calls('batch', batch.map(({ path }) => path), Infinity, Infinity)).join('')
}
