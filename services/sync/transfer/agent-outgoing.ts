import { seconds, isUnchanged } from '../workspace/stat-records.js'
import type { Entry } from '../workspace/workspace.js'
import type { AgentReply, TransferAgent } from './agent.js'
import type { SendPresigned } from './courier.js'

/** A file as it was when all of it was read, whose bytes wait to be stored. */
export interface BufferedFile { entry: Entry, hash: string, courier: SendPresigned, drop: () => void }

/** Why there is nothing to store: it is gone, may not be read, changes, or is too large to be taken whole. */
export type ReadRefusal = 'GONE' | 'UNREADABLE' | 'CHANGED' | 'LARGE'

export interface OpenFile {
  entry: Entry
  /** @returns undefined when it has become too short for it. */
  read (start: number, length: number): Promise<Omit<BufferedFile, 'entry'> | undefined>
  /** @returns the entry, when nothing has changed it since it was opened. */
  close (): Promise<Entry | undefined>
}

/** Has a file of at most `most` bytes read while nothing changes it. @throws {CourierLost} */
export async function bufferFile (mover: TransferAgent, path: string, most: number): Promise<BufferedFile | ReadRefusal> {
  const body = mover.nextId()
  const answer = await mover.call('take', { body, path, most })
  if (answer.code !== undefined) return refusal(answer.code)
  if (answer.large) return 'LARGE'
  const entry = settled(path, answer)
  const taken = takenBy(mover, body, answer)
  if (entry !== undefined) return { entry, ...taken }
  taken.drop()
  return 'CHANGED'
}

/**
 * Has small files read and packed one behind the other; which of them could not be is told by their indexes.
 * @param files their `content` is the hash of what they hold.
 * @throws {CourierLost}
 */
export async function bufferPack (
  mover: TransferAgent, files: { path: string, size: number, content: string }[]
): Promise<Omit<BufferedFile, 'entry'> & { failed: Set<number> }> {
  const body = mover.nextId()
  const answer = await mover.call('pack', { body, files: files.map(({ path, size, content }) => [path, size, content]) })
  return { failed: new Set(answer.failed), ...takenBy(mover, body, answer) }
}

/** Has a file opened that is to be read in parts. @throws {CourierLost} */
export async function openFile (mover: TransferAgent, path: string): Promise<OpenFile | ReadRefusal> {
  const file = mover.nextId()
  const { code, before, now } = await mover.call('open', { file, path })
  if (code !== undefined) return refusal(code)
  return {
    entry: entryOf(path, before!),
    read: async (start, length) => {
      const body = mover.nextId()
      const answer = await mover.call('read', { file, body, start, length })
      if (answer.code === undefined && !answer.short) return takenBy(mover, body, answer)
    },
    close: async () => {
      const { after } = await mover.call('close', { file })
      return settled(path, { before: before!, after: after ?? '', now: now! })
    }
  }
}

function takenBy (mover: TransferAgent, body: number, { hash }: AgentReply): Omit<BufferedFile, 'entry'> {
  return {
    hash: hash!,
    courier: (permit) => mover.call('put', { ...permit, body }),
    drop: () => { mover.call('drop', { body }).catch(() => {}) }
  }
}

function settled (path: string, { before, after, now }: Pick<AgentReply, 'before' | 'after' | 'now'>): Entry | undefined {
  if (before === undefined || after === undefined || after === '') return
  const [first, last] = [entryOf(path, before), entryOf(path, after)]
  return isUnchanged(first, last, now! / 1000) ? last : undefined
}

function refusal (code: string): ReadRefusal {
  if (code === 'ENOENT' || code === 'ENOTDIR') return 'GONE'
  return code === 'ELOOP' ? 'CHANGED' : 'UNREADABLE'
}

function entryOf (path: string, record: string): Entry {
  const [mode, size, mtime, ctime, uid, gid] = record.split(' ').map(BigInt) as [bigint, bigint, bigint, bigint, bigint, bigint]
  return {
    path,
    type: 'file',
    mode: Number(mode) & 0o7777,
    size: Number(size),
    mtime: seconds(mtime),
    ctime: seconds(ctime),
    uid: Number(uid),
    gid: Number(gid)
  }
}
