import { mapOrdered } from '../../../lib/concurrency.js'
import { S3Error } from '../s3/errors.js'
import type { GetOptions, ObjectStore } from '../s3/object-store.js'
import { settableTime } from '../workspace/stat-records.js'
import { transferAll, transferParts } from './agent-schedule.js'
import { AgentUnavailable, LocalFileError, retryExchange, type AgentReply, type TransferAgent } from './agent.js'
import type { PackedTarget, PackTarget, SavedEntry, Target } from './entries.js'
import { describeEntry, fetchVerified, isMd5, knownHashes } from './fetch.js'
import { agentPacksInFlight, partSizeFor } from './limits.js'
import type { DownloadOutcome } from './outcome.js'

/**
 * Has the agent restore files: packs first, then what is in none of them, or did not come with one.
 * @returns those that the service has to restore.
 */
export async function downloadByAgent (
  agent: TransferAgent, packs: PackTarget[], targets: Target[], outcome: DownloadOutcome
): Promise<Target[]> {
  const single = [...targets]
  const restore = async (pack: PackTarget) => await restorePack(agent, pack, outcome)
  for await (const missing of mapOrdered(packs, () => 0, restore, agentPacksInFlight, Infinity)) single.push(...missing)
  const left = await transferAll(single, {
    small: async (target) => await restoreSmall(new IncomingFile(agent, outcome.store, target), target, outcome),
    large: async (target) => await restoreLarge(new IncomingFile(agent, outcome.store, target), target, outcome),
    failed: (_target, error) => outcome.stopWith(error)
  })
  outcome.check()
  return left
}

/** @returns what did not come with the pack, and has to come from its own object. */
async function restorePack (agent: TransferAgent, pack: PackTarget, outcome: DownloadOutcome): Promise<Target[]> {
  const targets = pack.targets.filter(({ saved }) => isTransferable(saved))
  try {
    const missing = await unpack(agent, outcome.store, { ...pack, targets })
    for (const target of targets) if (!missing.has(target)) outcome.restored(target, target.saved, true)
    return [...missing, ...pack.targets.filter(({ saved }) => !isTransferable(saved))]
  } catch (error) {
    if (!(error instanceof S3Error) && !(error instanceof AgentUnavailable)) throw error
    return pack.targets
  }
}

async function restoreSmall (incoming: IncomingFile, target: Target, outcome: DownloadOutcome): Promise<boolean> {
  const { size, saved } = target
  if (saved?.hashes[0] === undefined) return await restoreUnknown(incoming, target, outcome)
  if (!isTransferable(saved)) return false
  const { hash, verified } = await incoming.fetchAndCommit(saved.hashes[0], saved)
  outcome.restored(target, describeEntry(target, { size, metadata: {} }, [hash], 0).saved, verified)
  return true
}

/** Only the object itself says what is in the file. */
async function restoreUnknown (incoming: IncomingFile, target: Target, outcome: DownloadOutcome): Promise<boolean> {
  const { hash, metadata } = await fetchVerified(undefined, async () => await incoming.fetch())
  const { entry, saved } = describeEntry(target, { size: target.size, metadata }, [hash], 0)
  if (isTransferable(entry)) outcome.restored(target, saved, await incoming.commit(entry))
  else await incoming.discard()
  return isTransferable(entry)
}

async function restoreLarge (incoming: IncomingFile, target: Target, outcome: DownloadOutcome): Promise<boolean> {
  const { size } = target
  const partSize = partSizeFor(size)
  const expected = knownHashes(target)
  const hashes: string[] = []
  const count = outcome.stats.provisional()
  let object: Pick<FetchedObject, 'metadata' | 'md5'> = { metadata: {}, md5: undefined }
  let isDone = false
  try {
    await incoming.createPartial()
    await transferParts(size, async (index, start, length) => {
      const part = await incoming.fetchPart(expected[index], start, length)
      hashes[index] = part.hash
      object = part
      count.add(length)
      return true
    })
    const { entry, saved } = describeEntry(target, { size, metadata: object.metadata }, hashes, partSize)
    if (!isTransferable(entry)) return false
    const isWhole = await incoming.commitPartial(entry, expected.length === 0 ? object.md5 : undefined)
    if (!isWhole) throw new S3Error('ContentMismatch')
    isDone = true
    count.undo()
    outcome.restored(target, saved)
    return true
  } finally {
    count.undo()
    if (!isDone) await incoming.discardPartial()
  }
}

/** Older Node.js sets times before 1970 wrongly, and symlinks are made when all files are there. */
function isTransferable ({ type, mtime }: Pick<SavedEntry, 'type' | 'mtime'>): boolean {
  return type === 'file' && Number(mtime) >= 0
}

/** How a file has to be in the end. */
interface FileAttributes { mode: number, mtime: string }

interface FetchedObject {
  hash: string
  metadata: Record<string, string>
  /** Of the whole object, where S3 tells it. */
  md5: string | undefined
  /** Whether the content has it, where it is known. */
  isStored: boolean | undefined
  /** Whether it was read again in its place as it was fetched. */
  verified: boolean
}

/** A file that the agent fetches. It gets its name when all of it is there, and not before. */
export class IncomingFile {
  readonly #agent: TransferAgent
  readonly #store: ObjectStore
  readonly #target: Target
  readonly #id: number

  constructor (agent: TransferAgent, store: ObjectStore, target: Target) {
    this.#agent = agent
    this.#store = store
    this.#target = target
    this.#id = agent.nextId()
  }

  /**
   * Restores a small object in one step when it has the expected hash, and in two when S3 says that the hash is wrong.
   * @throws {S3Error | AgentUnavailable | LocalFileError}
   */
  async fetchAndCommit (expected: string, attributes: FileAttributes): Promise<FetchedObject> {
    const final = { ...this.#final(attributes), size: this.#target.size }
    const fetched = await fetchVerified(expected, async () =>
      await this.#fetch('fetchAndCommit', { ...final, expected }))
    return fetched.hash === expected ? fetched : await this.fetchAndCommit(fetched.hash, attributes)
  }

  /** Fetches a small object that is then committed or discarded. @throws {S3Error | AgentUnavailable} */
  async fetch (): Promise<FetchedObject> {
    return await this.#fetch('fetch', { body: this.#id, size: this.#target.size })
  }

  /** @returns whether it was read again in its place as it was fetched. @throws {AgentUnavailable | LocalFileError} */
  async commit (attributes: FileAttributes): Promise<boolean> {
    const reply = await this.#callLocal('commit', { body: this.#id, ...this.#final(attributes) })
    return reply.verified === true
  }

  async discard (): Promise<void> {
    await this.#call('discard', { body: this.#id }).catch(() => {})
  }

  /** Creates a file that gets its content part by part. @throws {AgentUnavailable | LocalFileError} */
  async createPartial (): Promise<void> {
    await this.#callLocal('createPartial', { partial: this.#id, path: this.#target.path })
  }

  /** @throws {S3Error | AgentUnavailable | LocalFileError} */
  async fetchPart (expected: string | undefined, start: number, size: number): Promise<FetchedObject> {
    const range = { start, length: size }
    return await fetchVerified(expected, async () =>
      await this.#fetch('fetchPart', { partial: this.#id, start, size }, range))
  }

  /**
   * @param md5 of the whole content, when nothing else proves it. @returns whether the content has it.
   * @throws {AgentUnavailable | LocalFileError}
   */
  async commitPartial (attributes: FileAttributes, md5?: string): Promise<boolean> {
    const reply = await this.#callLocal('commitPartial', { partial: this.#id, ...this.#final(attributes), md5 })
    return reply.damaged !== true
  }

  async discardPartial (): Promise<void> {
    await this.#call('discardPartial', { partial: this.#id }).catch(() => {})
  }

  #final ({ mode, mtime }: FileAttributes) {
    return { path: this.#target.path, mode, mtime: settableTime(mtime) }
  }

  /** A task that sends a GET of the object. */
  async #fetch (task: string, details: object, range: Pick<GetOptions, 'start' | 'length'> = {}): Promise<FetchedObject> {
    const { key, etag } = this.#target
    return await retryExchange(this.#store, async () => {
      const request = await this.#store.presignGet(key, { etag, ...range })
      const reply = await this.#call(task, { ...request, ...details })
      const { metadata, md5 } = this.#store.accept(reply, etag)
      const isStored = isMd5(md5, () => reply.md5)
      return { metadata, md5, isStored, hash: reply.hash!, verified: reply.verified === true }
    })
  }

  /** A task that has nothing to do with S3. */
  async #callLocal (task: string, details: object): Promise<AgentReply> {
    const reply = await this.#call(task, details)
    if (reply.code !== undefined) throw new LocalFileError(reply.code)
    return reply
  }

  async #call (task: string, details: object): Promise<AgentReply> {
    const reply = await this.#agent.call(task, details)
    if (reply.fileError !== undefined) throw new LocalFileError(reply.fileError)
    return reply
  }
}

/** Has the agent fetch a pack and restore files from it. @returns the targets that are not restored. */
async function unpack (
  agent: TransferAgent, store: ObjectStore, { key, size, targets }: PackTarget
): Promise<Set<PackedTarget>> {
  const files = targets.map(({ path, size, saved: { mode, mtime, hashes, packed } }) =>
    [path, packed.start, size, mode, settableTime(mtime), hashes[0]])
  return await retryExchange(store, async () => {
    const request = await store.presignGet(key, {})
    const reply = await agent.call('unpack', { ...request, size, files })
    store.accept(reply)
    return new Set(reply.failed?.map((index) => targets[index]!))
  })
}
