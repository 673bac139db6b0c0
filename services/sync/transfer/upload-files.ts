import { setTimeout as sleep } from 'node:timers/promises'
import { ByteReader, EndOfStream } from '../../../lib/byte-reader.js'
import { Semaphore } from '../../../lib/concurrency.js'
import type { MultipartUpload } from '../s3/multipart.js'
import { changed, gone } from '../workspace/stat-records.js'
import { rereadDelays, type Entry, type LargeRead, type Workspace } from '../workspace/workspace.js'
import { uploadByAgent } from './agent-upload.js'
import { partCount, PartBuffers, partSizeFor } from './limits.js'
import { isLarge, UploadOutcome, type UploadContext } from './outcome.js'

/** Of small files, on their way to S3; more is being read meanwhile. */
const uploadBytesInFlight = 12 * 1024 * 1024

/**
 * Stores entries: files through the agent, where there is one, and whatever it leaves through the service. Those that
 * could not be stored are in the stats. @throws {S3Error} when everything fails.
 */
export async function uploadFiles (entries: Entry[], context: UploadContext): Promise<void> {
  const { workspace, store, agentLauncher } = context
  const outcome = new UploadOutcome(context)
  const files = entries.filter(({ type }) => type === 'file')
  const agent = await agentLauncher?.agentFor(files, store)
  const left = agent === undefined ? files : await uploadByAgent(agent, files, outcome)
  const rest = [...entries.filter(({ type }) => type !== 'file'), ...left]
  const results = await Promise.allSettled([
    storeSmall(rest.filter((entry) => !isLarge(entry)), workspace, outcome),
    storeLarge(rest.filter(isLarge), workspace, outcome)
  ])
  for (const result of results) if (result.status === 'rejected') throw result.reason
  outcome.check()
}

async function storeSmall (entries: Entry[], workspace: Workspace, outcome: UploadOutcome) {
  const semaphore = new Semaphore(outcome.store.requestsInFlight, uploadBytesInFlight)
  const put = async (entry: Entry, body: Buffer) => {
    outcome.check()
    const { key, metadata } = outcome.objectFor(entry)
    await semaphore.enter(body.length, async () => {
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
      else outcome.unreadable(read)
    }
  }
  await semaphore.idle()
}

async function storeLarge (entries: Entry[], workspace: Workspace, outcome: UploadOutcome) {
  const buffers = new PartBuffers()
  for (const entry of entries) {
    outcome.check()
    try {
      await storeFile(entry, workspace, outcome, buffers)
    } catch (error) {
      outcome.failed(entry.path, error)
    }
  }
}

/** Starts over while the file changes during the reading; what is not whole never becomes an object. */
async function storeFile (first: Entry, workspace: Workspace, outcome: UploadOutcome, buffers: PartBuffers) {
  for (const delay of [...rereadDelays, undefined]) {
    const read = await workspace.readLarge(first)
    if (read.entry === undefined) {
      read.cancel()
      return outcome.unreadable(gone(first.path))
    }
    const result = await storeParts(read, read.entry, outcome, buffers)
    if (result !== undefined) return outcome.stored(read.entry, result.etag, result.hashes)
    if (delay !== undefined) await sleep(delay)
  }
  outcome.unreadable(changed(first.path))
}

/** @returns undefined when the file has changed meanwhile. */
async function storeParts (read: LargeRead, entry: Entry, outcome: UploadOutcome, buffers: PartBuffers) {
  const partSize = partSizeFor(entry.size)
  const pool = buffers.for(entry.size)
  const hashes: string[] = []
  const parts: Promise<void>[] = []
  const count = outcome.stats.provisional()
  let failure: unknown
  let upload: MultipartUpload | undefined
  try {
    const { key, metadata } = outcome.objectFor(entry)
    upload = await outcome.store.startUpload(key, metadata)
    const reader = new ByteReader(read.chunks)
    for (let number = 1; number <= partCount(entry.size) && failure === undefined; number++) {
      const buffer = await pool.take()
      const body = buffer.subarray(0, Math.min(partSize, entry.size - (number - 1) * partSize))
      await reader.fill(body).catch((error: unknown) => { pool.give(buffer); throw error })
      parts.push(upload.putPart(number, body).then((hash) => {
        hashes[number - 1] = hash
        count.add(body.length)
      }, (error: unknown) => { failure ??= error }).finally(() => pool.give(buffer)))
    }
    await Promise.all(parts)
    if (failure !== undefined) throw failure
    if (await read.confirm() !== undefined) return { etag: await upload.complete(), hashes }
    count.undo()
    await abort(upload)
  } catch (error) {
    read.cancel()
    await Promise.all(parts)
    count.undo()
    if (upload !== undefined) await abort(upload)
    if (error instanceof EndOfStream) return
    throw error
  }
}

async function abort (upload: MultipartUpload) {
  // One that cannot be aborted now is found by a later sync.
  await upload.abort().catch(() => {})
}
