import { setTimeout as sleep } from 'node:timers/promises'
import { ByteReader, EndOfStream } from './byte-reader.js'
import { Gate } from './flow.js'
import type { Saved } from './manifest.js'
import { toMetadata } from './metadata.js'
import { requestsAtOnce, type MultipartUpload, type ObjectStore } from './object-store.js'
import { partCount, PartBuffers, partSize, partSizeFor } from './parts.js'
import { keyOf } from './remote.js'
import { Breaker, problemOf, type Tally } from './report.js'
import { rereadDelays, type Entry, type LargeRead, type Problem, type Workspace } from './workspace.js'

/** What of small files is on its way to S3, beside what is being read. */
const bytesInFlight = 12 * 1024 * 1024

export interface Uploading {
  workspace: Workspace
  store: ObjectStore
  tally: Tally
  /** Where an entry's object goes, when not to its own path. */
  keyFor: (entry: Entry) => string | undefined
  onStored: (path: string, saved: Saved) => void
}

/** Stores entries; those that could not be are in the tally. @throws {S3Fault} when nothing works any more. */
export async function uploadEntries (entries: Entry[], options: Uploading): Promise<void> {
  const { workspace, store, tally, keyFor, onStored } = options
  const gate = new Gate(requestsAtOnce, bytesInFlight)
  const breaker = new Breaker()
  const buffers = new PartBuffers()
  const isLarge = ({ type, size }: Entry) => type === 'file' && size > partSize

  const stored = (entry: Entry, etag: string, hashes: string[]) => {
    const { path, type, mode, size, mtime } = entry
    const key = keyFor(entry)
    const ofParts = hashes.length > 1 ? partSizeFor(size) : 0
    const saved = { type, mode, size, mtime, etag, hashes, partSize: ofParts, own: true }
    onStored(path, key === undefined ? saved : { ...saved, key })
    breaker.succeeded()
    if (type === 'directory') return
    tally.verified++
    tally.add(1, isLarge(entry) ? 0 : size)
  }
  const failed = (path: string, error: unknown) => {
    tally.fail(problemOf(path, error))
    breaker.failed(error)
  }
  const put = async (entry: Entry, body: Buffer) => {
    breaker.check()
    await gate.enter(body.length, async () => {
      try {
        const { etag, sha256 } = await store.put(objectKey(entry, keyFor), body, toMetadata(entry))
        stored(entry, etag, [sha256])
      } catch (error) {
        fatal ??= rethrown(() => failed(entry.path, error))
      }
    })
    if (fatal !== undefined) throw fatal
  }
  let fatal: unknown

  const small = async () => {
    for (const entry of entries) if (entry.type === 'directory') await put(entry, Buffer.alloc(0))
    const files = entries.filter((entry) => entry.type !== 'directory' && !isLarge(entry))
    if (files.length > 0) {
      for await (const read of workspace.readMany(files)) {
        if ('body' in read) await put(read.entry, read.body)
        else tally.fail(read)
      }
    }
    await gate.idle()
    if (fatal !== undefined) throw fatal
  }
  const large = async () => {
    for (const entry of entries.filter(isLarge)) {
      breaker.check()
      try {
        const result = await uploadLarge(entry, options, buffers)
        if ('etag' in result) stored(result.entry, result.etag, result.hashes)
        else tally.fail(result)
      } catch (error) {
        failed(entry.path, error)
      }
    }
  }
  const results = await Promise.allSettled([small(), large()])
  for (const result of results) if (result.status === 'rejected') throw result.reason
}

/** Tries again while the file changes under the reading; what is not whole never becomes an object. */
async function uploadLarge (first: Entry, options: Uploading, buffers: PartBuffers) {
  for (const delay of [...rereadDelays, undefined]) {
    const read = await options.workspace.readLarge(first)
    if (read.entry === undefined) {
      read.cancel()
      return { path: first.path, code: 'GONE', message: 'The file was removed during the sync.' } satisfies Problem
    }
    const { bytes } = options.tally
    const result = await storeParts(read, read.entry, options, buffers)
    if (result !== undefined) return result
    options.tally.bytes = bytes
    if (delay !== undefined) await sleep(delay)
  }
  return { path: first.path, code: 'CHANGED', message: 'The file keeps changing while it is read.' } satisfies Problem
}

async function storeParts (read: LargeRead, entry: Entry, { store, tally, keyFor }: Uploading, buffers: PartBuffers) {
  const size = partSizeFor(entry.size)
  const pool = buffers.for(entry.size)
  const hashes: string[] = []
  const parts: Promise<void>[] = []
  let failure: unknown
  let upload: MultipartUpload | undefined
  try {
    upload = await store.startUpload(objectKey(entry, keyFor), toMetadata(entry))
    const reader = new ByteReader(read.chunks)
    for (let number = 1; number <= partCount(entry.size) && failure === undefined; number++) {
      const buffer = await pool.take()
      const body = buffer.subarray(0, Math.min(size, entry.size - (number - 1) * size))
      await reader.fill(body).catch((error: unknown) => { pool.give(buffer); throw error })
      parts.push(upload.part(number, body).then((hash) => {
        hashes[number - 1] = hash
        tally.add(0, body.length)
      }, (error: unknown) => { failure ??= error }).finally(() => pool.give(buffer)))
    }
    await Promise.all(parts)
    if (failure !== undefined) throw failure
    if (await read.confirm() === undefined) return await abandon(upload)
    return { entry, etag: await upload.complete(), hashes }
  } catch (error) {
    read.cancel()
    await Promise.all(parts)
    if (upload !== undefined) await abandon(upload)
    if (error instanceof EndOfStream) return
    throw error
  }
}

async function abandon (upload: MultipartUpload): Promise<undefined> {
  // One that can not be aborted now is when a later sync finds it.
  await upload.abort().catch(() => {})
}

function objectKey (entry: Entry, keyFor: Uploading['keyFor']): string {
  return keyOf(entry.path, { type: entry.type, ...keyed(keyFor(entry)) })
}

function keyed (key: string | undefined) {
  return key === undefined ? {} : { key }
}

function rethrown (work: () => void): unknown {
  try {
    work()
  } catch (error) {
    return error
  }
}
