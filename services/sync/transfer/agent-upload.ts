import { setTimeout as sleep } from 'node:timers/promises'
import type { BodyInfo, PresignedRequest } from '../s3/http.js'
import type { MultipartUpload } from '../s3/multipart.js'
import type { ObjectStore } from '../s3/object-store.js'
import { changed, gone, isUnchanged, knownTimes, seconds, unreadable } from '../workspace/stat-records.js'
import { rereadDelays, type Entry } from '../workspace/workspace.js'
import { transferAll, transferParts } from './agent-schedule.js'
import { retryExchange, type AgentReply, type TransferAgent } from './agent.js'
import { defaultPartSize } from './limits.js'
import type { UploadOutcome } from './outcome.js'

/** Why there is nothing to store: the file is gone, may not be read, changes, or is too large to be buffered. */
type ReadRefusal = 'GONE' | 'UNREADABLE' | 'CHANGED' | 'LARGE'

const problems = { GONE: gone, UNREADABLE: unreadable, CHANGED: changed }

/** Has the agent store files. @returns those that the service has to store. */
export async function uploadByAgent (agent: TransferAgent, files: Entry[], outcome: UploadOutcome): Promise<Entry[]> {
  const left = await transferAll(files, {
    small: async ({ path }) => await storeSmall(agent, path, outcome),
    large: async ({ path }) => await storeLarge(agent, path, outcome),
    failed: ({ path }, error) => outcome.failed(path, error)
  })
  outcome.check()
  return left
}

async function storeSmall (agent: TransferAgent, path: string, outcome: UploadOutcome): Promise<boolean> {
  return await whileChanging(path, outcome, async () => {
    const file = await bufferFile(agent, path, defaultPartSize)
    if (typeof file === 'string') return file
    const { entry, body } = file
    const { key, metadata } = outcome.objectFor(entry)
    const etag = await storeBody(outcome.store, key, body, metadata)
    outcome.stored(entry, etag, [body.hash])
  })
}

async function storeLarge (agent: TransferAgent, path: string, outcome: UploadOutcome): Promise<boolean> {
  const count = outcome.stats.provisional()
  return await whileChanging(path, outcome, async () => {
    const file = await openFile(agent, path)
    if (typeof file === 'string') return file
    const { entry } = file
    const { key, metadata } = outcome.objectFor(entry)
    let upload: MultipartUpload | undefined
    try {
      upload = await outcome.store.startUpload(key, metadata)
      const hashes = await storeParts(file, upload, outcome.store, count.add)
      const after = await file.close()
      if (hashes !== undefined && after !== undefined) return outcome.stored(entry, await upload.complete(), hashes)
    } catch (error) {
      count.undo()
      file.close().catch(() => {})
      await upload?.abort().catch(() => {})
      throw error
    }
    count.undo()
    await upload.abort().catch(() => {})
    return 'CHANGED'
  })
}

/** @returns the hashes of the parts; undefined when the file has become shorter. */
async function storeParts (
  { entry, readPart }: OpenFile, upload: MultipartUpload, store: ObjectStore, count: (bytes: number) => void
): Promise<string[] | undefined> {
  const hashes: string[] = []
  const isWhole = await transferParts(entry.size, async (index, start, size) => {
    const body = await readPart(start, size)
    if (body === undefined) return false
    await body.discardOnError(async () => await retryExchange(store, async () => {
      const request = await upload.presignPart(index + 1, body)
      const response = await body.put(request)
      upload.acceptPart(index + 1, response)
    }))
    hashes[index] = body.hash
    count(size)
    return true
  })
  return isWhole ? hashes : undefined
}

/** Stores what the agent has buffered. @returns the ETag. @throws {S3Error | AgentUnavailable} */
export async function storeBody (
  store: ObjectStore, key: string, body: BufferedBody, metadata: Record<string, string>
): Promise<string> {
  return await body.discardOnError(async () => await retryExchange(store, async () => {
    const request = await store.presignPut(key, body, metadata)
    const response = await body.put(request)
    return store.acceptPut(response)
  }))
}

/** Repeats a transfer as long as the file changes meanwhile. @returns false when the service has to store it. */
async function whileChanging (
  path: string, outcome: UploadOutcome, transfer: () => Promise<ReadRefusal | void>
): Promise<boolean> {
  for (const delay of [...rereadDelays, undefined]) {
    const refusal = await transfer()
    if (refusal === undefined) return true
    if (refusal === 'LARGE') return false
    if (refusal !== 'CHANGED' || delay === undefined) {
      outcome.unreadable(problems[refusal](path))
      return true
    }
    await sleep(delay)
  }
  return true
}

/** Bytes that the agent holds until they are stored or discarded. */
class BufferedBody implements BodyInfo {
  readonly hash: string
  readonly size: number
  readonly #agent: TransferAgent
  readonly #id: number

  constructor (agent: TransferAgent, id: number, hash: string, size: number) {
    this.#agent = agent
    this.#id = id
    this.hash = hash
    this.size = size
  }

  /** Has the agent send them; when S3 takes them it forgets them. @throws {AgentUnavailable} */
  async put (request: PresignedRequest): Promise<AgentReply> {
    return await this.#agent.call('put', { ...request, body: this.#id })
  }

  /** Discards them when `work` fails. */
  async discardOnError<T> (work: () => Promise<T>): Promise<T> {
    try {
      return await work()
    } catch (error) {
      this.discard()
      throw error
    }
  }

  discard (): void {
    this.#agent.call('discard', { body: this.#id }).catch(() => {})
  }
}

/**
 * Has the agent read a file of at most `maxSize` bytes while nothing changes it.
 * @returns the file as it was then, and its bytes. @throws {AgentUnavailable}
 */
export async function bufferFile (
  agent: TransferAgent, path: string, maxSize: number
): Promise<{ entry: Entry, body: BufferedBody } | ReadRefusal> {
  const id = agent.nextId()
  const reply = await agent.call('bufferFile', { body: id, path, maxSize })
  if (reply.code !== undefined) return refusalOf(reply.code)
  if (reply.large) return 'LARGE'
  const entry = unchangedEntry(path, reply)
  const body = new BufferedBody(agent, id, reply.hash!, entry?.size ?? 0)
  if (entry !== undefined) return { entry, body }
  body.discard()
  return 'CHANGED'
}

/**
 * Has the agent read small files and pack them, one behind the other.
 * @returns the pack, and the indexes of files that could not be read. @throws {AgentUnavailable}
 */
export async function bufferPack (
  agent: TransferAgent, files: { path: string, size: number }[]
): Promise<{ body: BufferedBody, failed: Set<number> }> {
  const id = agent.nextId()
  const reply = await agent.call('bufferPack', { body: id, files: files.map(({ path, size }) => [path, size]) })
  const size = files.reduce((sum, { size }) => sum + size, 0)
  return { body: new BufferedBody(agent, id, reply.hash!, size), failed: new Set(reply.failed) }
}

interface OpenFile {
  /** The file as it was when it was opened. */
  entry: Entry
  /** @returns undefined when the file has become too short for it. */
  readPart (start: number, size: number): Promise<BufferedBody | undefined>
  /** @returns the entry, unless something has changed it since it was opened. */
  close (): Promise<Entry | undefined>
}

/** Has the agent open a file that is to be read in parts. @throws {AgentUnavailable} */
export async function openFile (agent: TransferAgent, path: string): Promise<OpenFile | ReadRefusal> {
  const file = agent.nextId()
  const { code, before, now } = await agent.call('openFile', { file, path })
  if (code !== undefined) return refusalOf(code)
  return {
    entry: parseEntry(path, before!),
    readPart: async (start, size) => {
      const id = agent.nextId()
      const { code, short, hash } = await agent.call('readPart', { file, body: id, start, size })
      if (code === undefined && !short) return new BufferedBody(agent, id, hash!, size)
    },
    close: async () => {
      const { after } = await agent.call('closeFile', { file })
      return unchangedEntry(path, { before: before!, after: after ?? '', now: now! })
    }
  }
}

function unchangedEntry (
  path: string, { before, after, now }: Pick<AgentReply, 'before' | 'after' | 'now'>
): Entry | undefined {
  if (before === undefined || after === undefined || after === '') return
  const [first, last] = [parseEntry(path, before), parseEntry(path, after)]
  return isUnchanged(first, last, now! / 1000) ? last : undefined
}

function refusalOf (code: string): ReadRefusal {
  if (code === 'ENOENT' || code === 'ENOTDIR') return 'GONE'
  return code === 'ELOOP' ? 'CHANGED' : 'UNREADABLE'
}

function parseEntry (path: string, record: string): Entry {
  const [mode, size, mtime, ctime, uid, gid] = record.split(' ').map(BigInt) as [bigint, bigint, bigint, bigint, bigint, bigint]
  return knownTimes({
    path,
    type: 'file',
    mode: Number(mode) & 0o7777,
    size: Number(size),
    mtime: seconds(mtime),
    ctime: seconds(ctime),
    uid: Number(uid),
    gid: Number(gid)
  })
}
