import { CourierLost } from './courier.js'
import { describe } from './describe.js'
import { Fetcher } from './fetcher.js'
import { ordered } from './flow.js'
import type { Held } from './held.js'
import type { Saved } from './manifest.js'
import type { ObjectStore } from './object-store.js'
import {
  filesMovedAtOnce, isWorthMoving, partCount, PartBuffers, partsAtOnce, partSize, partSizeFor, partsMovedAtOnce,
  requestsAtOnce
} from './parts.js'
import type { Target } from './plan-download.js'
import { Breaker, problemOf, type Tally } from './report.js'
import type { Workspace, WriteEntry } from './workspace.js'

const bytesInFlight = 24 * 1024 * 1024
const writable = 0o700
const nothing = Buffer.alloc(0)

export interface Downloading {
  workspace: Workspace
  store: ObjectStore
  tally: Tally
}

/** What has been written, as it has to be found in the workspace; by path. */
export type Written = Map<string, Saved>

/** Restores entries. What could not be fetched is in the tally. @throws {S3Fault} when nothing works any more. */
export async function downloadEntries (
  directories: Target[], targets: Target[], options: Downloading
): Promise<Written> {
  const { workspace, store, tally } = options
  const mover = isWorthMoving(targets) ? await workspace.mover?.(store.origin) : undefined
  const before = { files: tally.files, bytes: tally.bytes }
  try {
    return await writeEntries(directories, targets, options, new Fetcher(store, mover))
  } catch (error) {
    if (!(error instanceof CourierLost)) throw error
    await workspace.withoutMover!()
    Object.assign(tally, before)
    return await writeEntries(directories, targets, options, new Fetcher(store, undefined))
  }
}

/**
 * Directories first, symlinks last, so that nothing is ever written through one, and the modes of directories at the
 * very end, as some of them must not be written to.
 */
async function writeEntries (directories: Target[], targets: Target[], options: Downloading, fetcher: Fetcher) {
  const { workspace, store, tally } = options
  const written: Written = new Map()
  const breaker = new Breaker()
  const links: WriteEntry[] = []

  const fetched = async (target: Target) => {
    breaker.check()
    try {
      const { object, hash } = await fetcher.whole(target)
      breaker.succeeded()
      return describe(target, object, [hash], 0)
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
    const atOnce = fetcher.moves ? filesMovedAtOnce : requestsAtOnce
    for await (const result of ordered(files, ({ size }) => size, fetched, atOnce, bytesInFlight)) {
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
      written.set(target.path, await writeLarge(target, options, fetcher, buffers))
    } catch (error) {
      if (error instanceof CourierLost) throw error
      await workspace.remove([target.path])
      tally.fail(problemOf(target.path, error))
      breaker.failed(error)
    }
  }
  return written
}

async function describeDirectory (store: ObjectStore, target: Target) {
  const object = target.saved === undefined
    ? await store.get(target.key).catch(() => undefined)
    : undefined
  return describe(target, { body: nothing, metadata: {}, size: 0, ...object }, [], 0)
}

/** Fetches parts side by side and writes them in order; another version of the object in the meantime is a fault. */
async function writeLarge (
  target: Target, { workspace, tally }: Downloading, fetcher: Fetcher, buffers: PartBuffers
): Promise<Saved> {
  const { key, etag, size, saved } = target
  const ofParts = partSizeFor(size)
  const pool = buffers.for(size)
  const expected = saved?.partSize === ofParts ? saved.hashes : []
  const hashes: string[] = []
  const metadata = saved === undefined ? await fetcher.metadata(target) : {}
  const { entry, saved: next } = describe(target, { body: nothing, metadata, size }, hashes, ofParts)
  let failure: unknown

  const part = async (index: number): Promise<{ piece: Held | Buffer, give: () => void }> => {
    const range = { start: index * ofParts, length: Math.min(ofParts, size - index * ofParts) }
    const moved = await fetcher.byMover(key, { etag, ...range }, range.length, expected[index])
    if (moved !== undefined) {
      hashes[index] = moved.hash
      return { piece: moved.held, give () {} }
    }
    const buffer = await pool.take()
    const give = () => pool.give(buffer)
    try {
      const piece = buffer.subarray(0, range.length)
      hashes[index] = await fetcher.part(key, { etag, ...range, into: piece }, expected[index])
      return { piece, give }
    } catch (error) {
      give()
      throw error
    }
  }
  const atOnce = fetcher.moves ? partsMovedAtOnce : partsAtOnce
  const body = async function * () {
    try {
      for await (const { piece, give } of ordered(Array(partCount(size)).keys(), () => 0, part, atOnce, Infinity)) {
        yield piece
        give()
        tally.add(0, piece.length)
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
