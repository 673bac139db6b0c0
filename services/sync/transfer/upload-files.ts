import { setTimeout as sleep } from 'node:timers/promises'
import { ByteReader, EndOfStream } from '../../../lib/byte-reader.js'
import type { MultipartUpload } from '../s3/multipart.js'
import { changed, gone } from '../workspace/stat-records.js'
import { rereadDelays, type Entry, type LargeRead, type Workspace } from '../workspace/workspace.js'
import { uploadByAgent } from './agent-upload.js'
import { Semaphore } from './concurrency.js'
import { isWorthAgent, partCount, PartBuffers, partSizeFor, requestsInFlight } from './limits.js'
import { isLarge, UploadOutcome, type UploadContext } from './upload-outcome.js'

/** What of small files is on its way to S3, beside what is being read. */
const bytesInFlight = 12 * 1024 * 1024

/** Stores entries; those that could not be are in the tally. @throws {S3Fault} when nothing works any more. */
export async function uploadFiles (entries: Entry[], options: UploadContext): Promise<void> {
  const { workspace, store } = options
  const outcome = new UploadOutcome(options)
  const files = entries.filter(({ type }) => type === 'file')
  const mover = isWorthAgent(files) ? await workspace.agent?.(store.origin) : undefined
  const left = mover === undefined ? files : await uploadByAgent(mover, files, outcome)
  const rest = [...entries.filter(({ type }) => type !== 'file'), ...left]
  const results = await Promise.allSettled([
    sendSmall(rest.filter((entry) => !isLarge(entry)), workspace, outcome),
    sendLarge(rest.filter(isLarge), workspace, outcome)
  ])
  for (const result of results) if (result.status === 'rejected') throw result.reason
  outcome.check()
}

async function sendSmall (entries: Entry[], workspace: Workspace, outcome: UploadOutcome) {
  const gate = new Semaphore(requestsInFlight, bytesInFlight)
  const put = async (entry: Entry, body: Buffer) => {
    outcome.check()
    const { key, metadata } = outcome.target(entry)
    await gate.enter(body.length, async () => {
      try {
        const { etag, sha256 } = await outcome.store.put(key, body, metadata)
        outcome.stored(entry, etag, [sha256])
      } catch (error) {
        outcome.failed(entry.path, error)
      }
    })
  }
  for (const entry of entries) if (entry.type === 'directory') await put(entry, Buffer.alloc(0))
  const files = entries.filter(({ type }) => type !== 'directory')
  if (files.length > 0) {
    for await (const read of workspace.readMany(files)) {
      if ('body' in read) await put(read.entry, read.body)
      else outcome.refused(read)
    }
  }
  await gate.idle()
}

async function sendLarge (entries: Entry[], workspace: Workspace, outcome: UploadOutcome) {
  const buffers = new PartBuffers()
  for (const entry of entries) {
    outcome.check()
    try {
      await sendFile(entry, workspace, outcome, buffers)
    } catch (error) {
      outcome.failed(entry.path, error)
    }
  }
}

/** Tries again while the file changes under the reading; what is not whole never becomes an object. */
async function sendFile (first: Entry, workspace: Workspace, outcome: UploadOutcome, buffers: PartBuffers) {
  for (const delay of [...rereadDelays, undefined]) {
    const read = await workspace.readLarge(first)
    if (read.entry === undefined) {
      read.cancel()
      return outcome.refused(gone(first.path))
    }
    const result = await storeParts(read, read.entry, outcome, buffers)
    if (result !== undefined) return outcome.stored(read.entry, result.etag, result.hashes)
    if (delay !== undefined) await sleep(delay)
  }
  outcome.refused(changed(first.path))
}

async function storeParts (read: LargeRead, entry: Entry, outcome: UploadOutcome, buffers: PartBuffers) {
  const size = partSizeFor(entry.size)
  const pool = buffers.for(entry.size)
  const hashes: string[] = []
  const parts: Promise<void>[] = []
  const count = outcome.tally.provisional()
  let failure: unknown
  let upload: MultipartUpload | undefined
  try {
    const { key, metadata } = outcome.target(entry)
    upload = await outcome.store.startUpload(key, metadata)
    const reader = new ByteReader(read.chunks)
    for (let number = 1; number <= partCount(entry.size) && failure === undefined; number++) {
      const buffer = await pool.take()
      const body = buffer.subarray(0, Math.min(size, entry.size - (number - 1) * size))
      await reader.fill(body).catch((error: unknown) => { pool.give(buffer); throw error })
      parts.push(upload.part(number, body).then((hash) => {
        hashes[number - 1] = hash
        count.add(body.length)
      }, (error: unknown) => { failure ??= error }).finally(() => pool.give(buffer)))
    }
    await Promise.all(parts)
    if (failure !== undefined) throw failure
    if (await read.confirm() !== undefined) return { etag: await upload.complete(), hashes }
    count.undo()
    await abandon(upload)
  } catch (error) {
    read.cancel()
    await Promise.all(parts)
    count.undo()
    if (upload !== undefined) await abandon(upload)
    if (error instanceof EndOfStream) return
    throw error
  }
}

async function abandon (upload: MultipartUpload) {
  // One that can not be aborted now is when a later sync finds it.
  await upload.abort().catch(() => {})
}
