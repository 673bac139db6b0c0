import { setTimeout as sleep } from 'node:timers/promises'
import type { MultipartUpload } from '../s3/multipart.js'
import { changed, gone, unreadable } from '../workspace/stat-records.js'
import { rereadDelays, type Entry } from '../workspace/workspace.js'
import { openFile, bufferFile, type OpenFile, type ReadRefusal } from './agent-outgoing.js'
import { transferAll, transferParts } from './agent-schedule.js'
import type { TransferAgent } from './agent.js'
import { partSize } from './limits.js'
import type { UploadOutcome } from './upload-outcome.js'

const problems = { GONE: gone, UNREADABLE: unreadable, CHANGED: changed }

/** Has files sent from where they are. @returns those that have to go the other way. */
export async function uploadByAgent (mover: TransferAgent, files: Entry[], outcome: UploadOutcome): Promise<Entry[]> {
  const left = await transferAll(files, {
    small: async ({ path }) => await moveSmall(mover, path, outcome),
    large: async ({ path }) => await moveLarge(mover, path, outcome),
    failed: ({ path }, error) => outcome.failed(path, error)
  })
  outcome.check()
  return left
}

async function moveSmall (mover: TransferAgent, path: string, outcome: UploadOutcome): Promise<boolean> {
  return await whileItChanges(path, outcome, async () => {
    const taken = await bufferFile(mover, path, partSize)
    if (typeof taken === 'string') return taken
    const { entry, hash, courier, drop } = taken
    const { key, metadata } = outcome.target(entry)
    const etag = await outcome.store.putFrom(courier, key, { hash, size: entry.size }, metadata)
      .catch(orDrop(drop))
    outcome.stored(entry, etag, [hash])
  })
}

async function moveLarge (mover: TransferAgent, path: string, outcome: UploadOutcome): Promise<boolean> {
  const count = outcome.tally.provisional()
  return await whileItChanges(path, outcome, async () => {
    const file = await openFile(mover, path)
    if (typeof file === 'string') return file
    const { entry } = file
    const { key, metadata } = outcome.target(entry)
    const upload = await outcome.store.startUpload(key, metadata)
    try {
      const hashes = await sendParts(file, upload, count.add)
      const after = await file.close()
      if (hashes !== undefined && after !== undefined) return outcome.stored(entry, await upload.complete(), hashes)
    } catch (error) {
      count.undo()
      await upload.abort().catch(() => {})
      throw error
    }
    count.undo()
    await upload.abort().catch(() => {})
    return 'CHANGED'
  })
}

/** @returns the hashes of the parts; undefined when the file has become shorter. */
async function sendParts ({ entry, read }: OpenFile, upload: MultipartUpload, count: (bytes: number) => void) {
  const hashes: string[] = []
  const isWhole = await transferParts(entry.size, async (index, start, size) => {
    const part = await read(start, size)
    if (part === undefined) return false
    await upload.partFrom(part.courier, index + 1, { hash: part.hash, size }).catch(orDrop(part.drop))
    hashes[index] = part.hash
    count(size)
    return true
  })
  return isWhole ? hashes : undefined
}

function orDrop (drop: () => void) {
  return (error: unknown) => {
    drop()
    throw error
  }
}

/** Once more as long as the file changes under the reading. @returns whether its fate is settled. */
async function whileItChanges (
  path: string, outcome: UploadOutcome, move: () => Promise<ReadRefusal | void>
): Promise<boolean> {
  for (const delay of [...rereadDelays, undefined]) {
    const refused = await move()
    if (refused === undefined) return true
    if (refused === 'LARGE') return false
    if (refused !== 'CHANGED' || delay === undefined) {
      outcome.refused(problems[refused](path))
      return true
    }
    await sleep(delay)
  }
  return true
}
