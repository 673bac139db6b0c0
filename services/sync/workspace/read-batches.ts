import { ByteReader, EndOfStream } from '../../../lib/byte-reader.js'
import type { SandboxCommands } from './commands.js'
import { calls, lostReason, readScript, scriptExit } from './scripts.js'
import {
  changed, gone, isEntry, readStatRecords, isUnchanged, toEntry, unreadable, type StatRecord
} from './stat-records.js'
import { readMember } from './tar.js'
import type { Entry, Problem, ReadEntry } from './workspace.js'

/** One batch is read as a whole before any of it is known to be whole: this is what of it is in memory. */
const batchBytes = 4 * 1024 * 1024
const batchFiles = 256

/** Reads small files and symlinks, each once. @throws {WorkspaceLost} */
export async function * readBatches (
  exec: SandboxCommands, root: string, entries: Entry[]
): AsyncGenerator<ReadEntry | Problem> {
  let queue = batchesOf(entries)
  for (let stuck = 0; queue.length > 0;) {
    const running = await exec.start(['sh', '-s', '--', root], { stdin: scriptFor(queue) })
    const reader = new ByteReader(running.stdout)
    let done = 0
    let over = false
    try {
      for (const batch of queue) {
        yield * await readBatch(reader, batch)
        done++
      }
      over = true
      await running.finish()
      return
    } catch (error) {
      if (!(error instanceof EndOfStream)) throw error
      over = true
    } finally {
      if (!over) running.cancel()
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
  const { now, looks: before } = await readStats(reader)
  const bodies = new Map<string, Buffer | undefined>()
  for (let member; (member = await readMember(reader)) !== undefined;) {
    // A second name of one file that does not carry its bytes; only busybox' tar writes it.
    bodies.set(member.name.replace(/^\.\//, ''), member.flag === '1' ? undefined : member.body)
  }
  await reader.skipZeros()
  const after = (await readStats(reader, false)).looks
  return batch.map(({ path }) => {
    const look = after.get(path)
    if (look === undefined || !isEntry(look)) return gone(path)
    if (!bodies.has(path)) return before.has(path) ? unreadable(path) : changed(path)
    const body = bodies.get(path)
    if (body === undefined || !isUnchanged(before.get(path), look, now) || body.length !== look.size) return changed(path)
    return { entry: toEntry(look), body }
  })
}

/** A time, unless not `timed`, and what was found, by path. @throws {EndOfStream} */
export async function readStats (reader: ByteReader, timed = true) {
  const now = timed ? await reader.until('\n') : undefined
  if (timed && now === undefined) throw new EndOfStream()
  const looks = new Map<string, StatRecord>()
  await readStatRecords(reader, (look) => { looks.set(look.path, look) })
  return { now: Number(now ?? 0), looks }
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

/** One line a batch, whatever its length: the reader relies on it. */
function scriptFor (batches: Entry[][]): string {
  return readScript + batches.map((batch) => calls('batch', batch.map(({ path }) => path), Infinity, Infinity)).join('')
}
