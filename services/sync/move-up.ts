import { setTimeout as sleep } from 'node:timers/promises'
import { CourierLost } from './courier.js'
import { S3Fault } from './faults.js'
import { Gate } from './flow.js'
import { changed, gone, unreadable } from './looks.js'
import type { Mover, OpenFile, Refused } from './mover.js'
import type { MultipartUpload } from './multipart.js'
import { filesMovedAtOnce, moverPatience, partCount, partsMovedAtOnce, partSize, partSizeFor } from './parts.js'
import { isLarge, type UploadOutcome } from './upload-outcome.js'
import { rereadDelays, type Entry } from './workspace.js'

/** What of small files is in the sandbox' memory. */
const bytesAtOnce = 32 * 1024 * 1024
const problems = { GONE: gone, UNREADABLE: unreadable, CHANGED: changed }

/** Has files sent from where they are. @returns those that have to go the other way. */
export async function moveUp (mover: Mover, files: Entry[], outcome: UploadOutcome): Promise<Entry[]> {
  const left: Entry[] = []
  let failures = 0
  const attempt = async (entry: Entry, move: () => Promise<boolean>) => {
    try {
      if (failures < moverPatience && await move()) failures = 0
      else left.push(entry)
    } catch (error) {
      left.push(entry)
      if (error instanceof CourierLost) failures = moverPatience
      else if (error instanceof S3Fault) failures++
      else outcome.failed(entry.path, error)
    }
  }
  const small = async () => {
    const gate = new Gate(filesMovedAtOnce, bytesAtOnce)
    for (const entry of files.filter((entry) => !isLarge(entry))) {
      await gate.enter(entry.size, async () => await attempt(entry, () => moveSmall(mover, entry, outcome)))
    }
    await gate.idle()
  }
  const large = async () => {
    for (const entry of files.filter(isLarge)) await attempt(entry, () => moveLarge(mover, entry, outcome))
  }
  await Promise.all([small(), large()])
  outcome.check()
  return left
}

async function moveSmall (mover: Mover, { path }: Entry, outcome: UploadOutcome): Promise<boolean> {
  return await whileItChanges(path, outcome, async () => {
    const taken = await mover.take(path, partSize)
    if (typeof taken === 'string') return taken
    const { entry, hash, courier, drop } = taken
    const { key, metadata } = outcome.target(entry)
    const etag = await outcome.store.putFrom(courier, key, { hash, size: entry.size }, metadata)
      .catch(orDrop(drop))
    outcome.stored(entry, etag, [hash])
  })
}

async function moveLarge (mover: Mover, { path }: Entry, outcome: UploadOutcome): Promise<boolean> {
  const { bytes } = outcome.tally
  return await whileItChanges(path, outcome, async () => {
    outcome.tally.bytes = bytes
    const file = await mover.open(path)
    if (typeof file === 'string') return file
    const { entry } = file
    const { key, metadata } = outcome.target(entry)
    const upload = await outcome.store.startUpload(key, metadata)
    try {
      const hashes = await moveParts(file, upload, outcome)
      const after = await file.close()
      if (hashes !== undefined && after !== undefined) return outcome.stored(entry, await upload.complete(), hashes)
    } catch (error) {
      outcome.tally.bytes = bytes
      await upload.abort().catch(() => {})
      throw error
    }
    await upload.abort().catch(() => {})
    return 'CHANGED'
  })
}

/** @returns the hashes of the parts; undefined when the file has become shorter. */
async function moveParts ({ entry, read }: OpenFile, upload: MultipartUpload, outcome: UploadOutcome) {
  const ofParts = partSizeFor(entry.size)
  const gate = new Gate(partsMovedAtOnce)
  const hashes: string[] = []
  let failure: unknown
  let whole = true
  for (let number = 1; number <= partCount(entry.size) && whole && failure === undefined; number++) {
    await gate.enter(0, async () => {
      const start = (number - 1) * ofParts
      const size = Math.min(ofParts, entry.size - start)
      try {
        const part = await read(start, size)
        if (part === undefined) {
          whole = false
          return
        }
        await upload.partFrom(part.courier, number, { hash: part.hash, size }).catch(orDrop(part.drop))
        hashes[number - 1] = part.hash
        outcome.tally.add(0, size)
      } catch (error) {
        failure ??= error
      }
    })
  }
  await gate.idle()
  if (failure !== undefined) throw failure
  return whole ? hashes : undefined
}

function orDrop (drop: () => void) {
  return (error: unknown) => {
    drop()
    throw error
  }
}

/** Once more as long as the file changes under the reading. @returns whether its fate is settled. */
async function whileItChanges (
  path: string, outcome: UploadOutcome, move: () => Promise<Refused | void>
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
