import { ordered } from './flow.js'
import type { Saved } from './manifest.js'
import { fromMetadata } from './metadata.js'
import { hashOf, requestsAtOnce, type ObjectStore, type StoredObject } from './object-store.js'
import { partCount, PartBuffers, partSize, partSizeFor } from './parts.js'
import type { Target } from './plan-download.js'
import { Breaker, problemOf, type Tally } from './report.js'
import type { Workspace, WriteEntry } from './workspace.js'

const bytesInFlight = 24 * 1024 * 1024
const defaultModes = { file: 0o644, directory: 0o755, symlink: 0o777 }
const writable = 0o700

export interface Downloading {
  workspace: Workspace
  store: ObjectStore
  tally: Tally
}

/** What has been written, as it has to be found in the workspace; by path. */
export type Written = Map<string, Saved>

/**
 * Restores entries: directories first, symlinks last, so that nothing is ever written through one, and the modes of
 * directories at the very end, as some of them must not be written to. What could not be fetched is in the tally.
 * @throws {S3Fault} when nothing works any more.
 */
export async function downloadEntries (
  directories: Target[], targets: Target[], options: Downloading
): Promise<Written> {
  const { workspace, store, tally } = options
  const written: Written = new Map()
  const breaker = new Breaker()
  const links: WriteEntry[] = []

  const fetched = async (target: Target) => {
    breaker.check()
    try {
      const { entry, saved } = await fetchSmall(store, target)
      breaker.succeeded()
      return { entry, saved, target }
    } catch (error) {
      tally.fail(problemOf(target.path, error))
      breaker.failed(error)
    }
  }
  const small = async function * (): AsyncGenerator<WriteEntry> {
    const folders = await Promise.all(directories.map(async (target) => await describeDirectory(store, target)))
    for (const { entry, saved } of folders) {
      written.set(entry.path, saved)
      yield { ...entry, mode: entry.mode | writable }
    }
    const files = targets.filter(({ size }) => size <= partSize)
    for await (const result of ordered(files, ({ size }) => size, fetched, requestsAtOnce, bytesInFlight)) {
      if (result === undefined) continue
      const { entry, saved } = result
      written.set(entry.path, saved)
      if (entry.type === 'symlink') links.push(entry)
      else yield entry
      tally.add(1, entry.size)
    }
    yield * links
    for (const { entry } of folders.toReversed()) yield entry
  }
  await workspace.write(small())

  const buffers = new PartBuffers()
  for (const target of targets.filter(({ size }) => size > partSize)) {
    breaker.check()
    try {
      written.set(target.path, await writeLarge(target, options, buffers))
    } catch (error) {
      await workspace.remove([target.path])
      tally.fail(problemOf(target.path, error))
      breaker.failed(error)
    }
  }
  return written
}

/** A symlink or a file that fits into memory. A content that is not what was stored is fetched once more. */
async function fetchSmall (store: ObjectStore, target: Target): Promise<{ entry: WriteEntry, saved: Saved }> {
  const expected = target.saved?.hashes[0]
  let object = await store.get(target.key, { etag: target.etag })
  let hash = hashOf(object.body)
  if (expected !== undefined && hash !== expected) {
    object = await store.get(target.key, { etag: target.etag })
    hash = hashOf(object.body)
  }
  return describe(target, object, [hash], 0)
}

async function describeDirectory (store: ObjectStore, target: Target) {
  const object = target.saved === undefined
    ? await store.get(target.key).catch(() => undefined)
    : undefined
  return describe(target, { body: Buffer.alloc(0), metadata: {}, etag: target.etag, size: 0, ...object }, [], 0)
}

/** The manifest knows best; without it the object itself says what it is, and what it does not say has a default. */
function describe (target: Target, { body, metadata, size }: StoredObject, hashes: string[], ofParts: number) {
  const { path, key, etag, saved, storedAt = 0 } = target
  const told = fromMetadata(key, metadata)
  const type = saved?.type ?? told.type!
  const mode = saved?.mode ?? told.mode ?? defaultModes[type]
  const mtime = saved?.mtime ?? told.mtime ?? String(Math.floor(storedAt / 1000))
  const entry: WriteEntry = {
    path, type, mode, mtime, size, ...(type === 'symlink' ? { target: body.toString() } : type === 'file' && { body })
  }
  const next: Saved = {
    type,
    mode,
    size,
    mtime,
    etag,
    hashes,
    partSize: ofParts,
    own: saved?.own ?? false,
    ...(saved?.key !== undefined && { key: saved.key })
  }
  return { entry, saved: next }
}

/** Fetches parts side by side and writes them in order; another version of the object in the meantime is a fault. */
async function writeLarge (target: Target, options: Downloading, buffers: PartBuffers): Promise<Saved> {
  const { workspace, store, tally } = options
  const { key, etag, size, saved } = target
  const ofParts = partSizeFor(size)
  const pool = buffers.for(size)
  const expected = saved?.partSize === ofParts ? saved.hashes : []
  const hashes: string[] = []
  const { metadata } = saved === undefined ? await store.get(key, { etag, start: 0, length: 1 }) : { metadata: {} }
  const { entry, saved: next } = describe(target, { body: Buffer.alloc(0), metadata, etag, size }, hashes, ofParts)
  let failure: unknown

  const part = async (index: number) => {
    const buffer = await pool.take()
    const into = buffer.subarray(0, Math.min(ofParts, size - index * ofParts))
    const range = { etag, start: index * ofParts, length: into.length, into }
    try {
      await store.get(key, range)
      hashes[index] = hashOf(into)
      if (expected[index] !== undefined && hashes[index] !== expected[index]) {
        await store.get(key, range)
        hashes[index] = hashOf(into)
      }
    } catch (error) {
      pool.give(buffer)
      throw error
    }
    return { buffer, into }
  }
  const body = async function * () {
    try {
      for await (const { buffer, into } of ordered(Array(partCount(size)).keys(), () => 0, part, 4, Infinity)) {
        yield into
        pool.give(buffer)
        tally.add(0, into.length)
      }
    } catch (error) {
      failure = error
      throw error
    }
  }
  await workspace.write((async function * () { yield { ...entry, body: body() } })())
  if (failure !== undefined) throw failure
  tally.add(1, 0)
  return next
}
