import { planUnpacking, type Packs, type PackTarget } from '../packs.js'
import type { Target } from '../plan-download.js'
import type { ObjectStore } from '../s3/object-store.js'
import type { Workspace, WriteEntry } from '../workspace/workspace.js'
import { downloadByAgent } from './agent-download.js'
import { mapOrdered } from './concurrency.js'
import { describeEntry } from './describe.js'
import { DownloadOutcome, type DownloadContext } from './download-outcome.js'
import { fetchMetadata, fetchPacked, fetchPart, fetchWhole } from './fetch.js'
import {
  isWorthAgent, partCount, PartBuffers, partsInFlight, partSize, partSizeFor, requestsInFlight
} from './limits.js'

const bytesInFlight = 24 * 1024 * 1024
const writable = 0o700

/**
 * Restores entries: directories first, symlinks last, so that nothing is ever written through one, and the modes of
 * directories at the very end, as some of them must not be written to. What could not be fetched is in the tally.
 * @throws {S3Fault} when nothing works any more.
 */
export async function downloadFiles (
  directories: Target[], targets: Target[], options: DownloadContext
): Promise<DownloadOutcome> {
  const { workspace, store, packs } = options
  const outcome = new DownloadOutcome(options)
  const folders = await describeDirectories(store, directories, outcome)
  const open = folders.map((entry) => ({ ...entry, mode: entry.mode | writable }))
  const mover = isWorthAgent(targets) ? await workspace.agent?.(store.origin) : undefined
  if (mover !== undefined) await writeAll(workspace, open.splice(0))
  const left = mover === undefined ? targets : await downloadByAgent(mover, targets, packs, outcome)

  const links: WriteEntry[] = []
  if (open.length + left.length > 0) {
    await workspace.write((async function * () {
      yield * open
      for await (const entry of smallOf(left, mover === undefined ? packs : new Map(), outcome)) {
        if (entry.type === 'symlink') links.push(entry)
        else yield entry
      }
    })())
  }
  await writeLarge(left.filter(({ size }) => size > partSize), workspace, outcome)
  await writeAll(workspace, [...links, ...folders.toReversed()])
  return outcome
}

async function writeAll (workspace: Workspace, entries: WriteEntry[]) {
  if (entries.length > 0) await workspace.write((async function * () { yield * entries })())
}

async function describeDirectories (store: ObjectStore, targets: Target[], outcome: DownloadOutcome) {
  return await Promise.all(targets.map(async (target) => {
    const object = target.saved === undefined ? await store.get(target.key).catch(() => undefined) : undefined
    const { entry, saved } = describeEntry(target, { size: 0, metadata: object?.metadata ?? {} }, [], 0)
    outcome.written.set(entry.path, saved)
    return entry
  }))
}

async function * smallOf (targets: Target[], packs: Packs, outcome: DownloadOutcome): AsyncGenerator<WriteEntry> {
  const { packed, single } = planUnpacking(targets.filter(({ size }) => size <= partSize), packs)
  const unpack = async (pack: PackTarget) => ({ pack, contents: await fetchPacked(outcome.store, pack) })
  for await (const { pack, contents } of mapOrdered(packed, ({ size }) => size, unpack, requestsInFlight, bytesInFlight)) {
    outcome.check()
    for (const [target, body] of contents) {
      outcome.placed(target, target.saved)
      yield describeEntry(target, { body, size: target.size, metadata: {} }, target.saved.hashes, 0).entry
    }
    single.push(...pack.targets.filter((target) => !contents.has(target)))
  }
  yield * singles(single, outcome)
}

async function * singles (targets: Target[], outcome: DownloadOutcome): AsyncGenerator<WriteEntry> {
  const fetch = async (target: Target) => {
    outcome.check()
    try {
      const { object, hash } = await fetchWhole(outcome.store, target)
      const { entry, saved } = describeEntry(target, object, [hash], 0)
      outcome.placed(target, saved)
      return entry
    } catch (error) {
      outcome.failed(target.path, error)
    }
  }
  for await (const entry of mapOrdered(targets, ({ size }) => size, fetch, requestsInFlight, bytesInFlight)) {
    if (entry !== undefined) yield entry
  }
}

async function writeLarge (targets: Target[], workspace: Workspace, outcome: DownloadOutcome) {
  const buffers = new PartBuffers()
  for (const target of targets) {
    outcome.check()
    try {
      await writeParts(target, workspace, outcome, buffers)
    } catch (error) {
      await workspace.remove([target.path])
      outcome.failed(target.path, error)
    }
  }
}

/** Fetches parts side by side and writes them in order; another version of the object in the meantime is a fault. */
async function writeParts (target: Target, workspace: Workspace, outcome: DownloadOutcome, buffers: PartBuffers) {
  const { key, etag, size } = target
  const ofParts = partSizeFor(size)
  const pool = buffers.for(size)
  const expected = target.saved?.partSize === ofParts ? target.saved.hashes : []
  const hashes: string[] = []
  const metadata = target.saved === undefined ? await fetchMetadata(outcome.store, target) : {}
  const { entry, saved } = describeEntry(target, { size, metadata }, hashes, ofParts)
  const count = outcome.tally.provisional()
  let failure: { error: unknown } | undefined

  const part = async (index: number) => {
    const buffer = await pool.take()
    const give = () => pool.give(buffer)
    try {
      const range = { start: index * ofParts, length: Math.min(ofParts, size - index * ofParts) }
      const piece = buffer.subarray(0, range.length)
      hashes[index] = await fetchPart(outcome.store, key, { etag, ...range, into: piece }, expected[index])
      return { piece, give }
    } catch (error) {
      give()
      throw error
    }
  }
  const body = async function * () {
    try {
      const numbers = Array(partCount(size)).keys()
      for await (const { piece, give } of mapOrdered(numbers, () => 0, part, partsInFlight, Infinity)) {
        yield piece
        give()
        count.add(piece.length)
      }
    } catch (error) {
      failure = { error }
      throw error
    }
  }
  await workspace.write((async function * () { yield { ...entry, body: body() } })()).finally(count.undo)
  if (failure !== undefined) throw failure.error
  outcome.placed(target, saved)
}
