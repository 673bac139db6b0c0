import { createHash } from 'node:crypto'
import { mapOrdered } from '../../../lib/concurrency.js'
import { S3Error } from '../s3/errors.js'
import type { ObjectStore, StoredObject } from '../s3/object-store.js'
import type { Workspace, WriteEntry } from '../workspace/workspace.js'
import { downloadByAgent } from './agent-download.js'
import type { PackTarget, Target } from './entries.js'
import { describeEntry, fetchDescription, fetchPacked, fetchPart, fetchWhole, knownHashes } from './fetch.js'
import { defaultPartSize, partCount, PartBuffers, partsInFlight, partSizeFor } from './limits.js'
import { DownloadOutcome, type TransferContext } from './outcome.js'

const downloadBytesInFlight = 24 * 1024 * 1024
const ownerMayWrite = 0o700

/** What is to be restored. */
interface DownloadTargets {
  directories: Target[]
  /** Directories that are there, and get their times after all else. */
  touched: Target[]
  /** Packs that are worth fetching, with files and symlinks that come with them. */
  packed: PackTarget[]
  /** Files and symlinks that come from their own objects. */
  single: Target[]
}

/**
 * Restores entries. Directories come first, and symlinks last, so that nothing is ever written through one; directories
 * get their modes at the very end, as some of them must not be written to. What could not be fetched is in the stats.
 * @throws {S3Error} when everything fails.
 */
export async function downloadFiles (targets: DownloadTargets, context: TransferContext): Promise<DownloadOutcome> {
  const { workspace, store, agentLauncher } = context
  const outcome = new DownloadOutcome(context)
  const directories = await describeDirectories(store, targets.directories, outcome)
  const touched = targets.touched.map((target) => describeEntry(target, { size: 0, metadata: {} }, [], 0).entry)
  const writable = directories.map((entry) => ({ ...entry, mode: entry.mode | ownerMayWrite }))
  let { packed, single } = targets
  const agent = await agentLauncher?.agentFor([...packed.flatMap(({ targets }) => targets), ...single], store)
  if (agent !== undefined) {
    await writeAll(workspace, writable.splice(0))
    single = await downloadByAgent(agent, packed, single, outcome)
    packed = []
  }

  const large = single.filter(({ size }) => size > defaultPartSize)
  const links: WriteEntry[] = []
  const last = [...directories, ...touched].toReversed()
  // One command is enough when nothing is left to come in between; a directory must not be in an archive twice.
  const isOne = large.length + directories.length === 0
  if (writable.length + packed.length + single.length > 0) {
    await workspace.write((async function * () {
      yield * writable
      for await (const entry of fetchSmall(packed, single.filter(({ size }) => size <= defaultPartSize), outcome)) {
        if (entry.type === 'symlink') links.push(entry)
        else yield entry
      }
      if (isOne) yield * [...links.splice(0), ...last.splice(0)]
    })())
  }
  await writeLarge(large, workspace, outcome)
  await writeAll(workspace, [...links, ...last])
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

async function * fetchSmall (
  packed: PackTarget[], single: Target[], outcome: DownloadOutcome
): AsyncGenerator<WriteEntry> {
  const { store } = outcome
  const notInPacks: Target[] = []
  const unpack = async (pack: PackTarget) => ({ pack, contents: await fetchPacked(store, pack) })
  const packs = mapOrdered(packed, ({ size }) => size, unpack, store.requestsInFlight, downloadBytesInFlight)
  for await (const { pack, contents } of packs) {
    outcome.check()
    for (const [target, body] of contents) {
      outcome.restored(target, target.saved)
      yield describeEntry(target, { body, size: target.size, metadata: {} }, target.saved.hashes, 0).entry
    }
    notInPacks.push(...pack.targets.filter((target) => !contents.has(target)))
  }
  yield * fetchSingle([...single, ...notInPacks], outcome)
}

async function * fetchSingle (targets: Target[], outcome: DownloadOutcome): AsyncGenerator<WriteEntry> {
  const { store } = outcome
  const fetch = async (target: Target) => {
    outcome.check()
    try {
      const { object, hash } = await fetchWhole(store, target)
      const { entry, saved } = describeEntry(target, object, [hash], 0)
      outcome.restored(target, saved)
      return entry
    } catch (error) {
      outcome.failed(target.path, error)
    }
  }
  const entries = mapOrdered(targets, ({ size }) => size, fetch, store.requestsInFlight, downloadBytesInFlight)
  for await (const entry of entries) if (entry !== undefined) yield entry
}

async function writeLarge (targets: Target[], workspace: Workspace, outcome: DownloadOutcome) {
  const buffers = new PartBuffers()
  for (const target of targets) {
    outcome.check()
    try {
      await writeVerified(target, workspace, outcome, buffers)
    } catch (error) {
      await workspace.remove([target.path])
      outcome.failed(target.path, error)
    }
  }
}

/** Writes once more what is not as it was stored, and goes by S3's MD5 then: the hashes in a manifest may be wrong. */
async function writeVerified (target: Target, workspace: Workspace, outcome: DownloadOutcome, buffers: PartBuffers) {
  const known = knownHashes(target)
  const describe = async () => await fetchDescription(outcome.store, target)
  const unproven = { metadata: {}, md5: undefined }
  try {
    await writeParts(target, known, known.length > 0 ? unproven : await describe(), workspace, outcome, buffers)
  } catch (error) {
    if (!(error instanceof S3Error) || error.code !== 'ContentMismatch') throw error
    const description = await describe()
    if (description.md5 === undefined) throw error
    await writeParts(target, [], description, workspace, outcome, buffers)
  }
}

/**
 * Fetches parts side by side and writes them in order; it is an error when the object is replaced meanwhile.
 * @param expected hashes of the parts. @param object its MD5 has to be that of the content.
 */
async function writeParts (
  target: Target, expected: string[], { metadata, md5 }: Pick<StoredObject, 'metadata' | 'md5'>,
  workspace: Workspace, outcome: DownloadOutcome, buffers: PartBuffers
) {
  const { store } = outcome
  const { key, etag, size } = target
  const partSize = partSizeFor(size)
  const pool = buffers.for(size)
  const hashes: string[] = []
  const md5Seen = md5 === undefined ? undefined : createHash('md5')
  const { entry, saved } = describeEntry(target, { size, metadata }, hashes, partSize)
  const count = outcome.stats.provisional()
  let failure: { error: unknown } | undefined

  const fetch = async (index: number) => {
    const buffer = await pool.take()
    const give = () => pool.give(buffer)
    try {
      const range = { start: index * partSize, length: Math.min(partSize, size - index * partSize) }
      const part = buffer.subarray(0, range.length)
      hashes[index] = await fetchPart(store, key, { etag, ...range }, part, expected[index])
      return { part, give }
    } catch (error) {
      give()
      throw error
    }
  }
  const body = async function * () {
    try {
      const indexes = Array(partCount(size)).keys()
      for await (const { part, give } of mapOrdered(indexes, () => 0, fetch, partsInFlight, Infinity)) {
        md5Seen?.update(part)
        yield part
        give()
        count.add(part.length)
      }
      if (md5Seen?.digest('hex') !== md5) throw new S3Error('ContentMismatch')
    } catch (error) {
      failure = { error }
      throw error
    }
  }
  await workspace.write((async function * () { yield { ...entry, body: body() } })()).finally(count.undo)
  if (failure !== undefined) throw failure.error
  outcome.restored(target, saved)
}
