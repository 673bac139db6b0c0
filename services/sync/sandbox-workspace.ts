import { setTimeout as sleep } from 'node:timers/promises'
import { ByteReader, EndOfStream } from './byte-reader.js'
import type { Running, SandboxExec } from './sandbox-exec.js'
import {
  calls, hashScript, listScript, lookScript, quote, readLargeScript, readLooks, readScript, removeScript, scriptExit,
  writeScript, type Look
} from './scripts.js'
import { encodeHeader, readMember, tarEnd, tarPadding } from './tar.js'
import {
  rereadDelays, WorkspaceLost, type Entry, type LargeRead, type Listing, type Problem, type ReadEntry, type Workspace,
  type WriteEntry
} from './workspace.js'

/** One batch is read as a whole before any of it is known to be whole: this is what of it is in memory. */
const batchBytes = 4 * 1024 * 1024
const batchFiles = 256
const writeSize = 1024 * 1024

/** A directory in a sandbox, reached by one command each way, with no more in it than sh, find, stat, tar and cat. */
export class SandboxWorkspace implements Workspace {
  readonly #exec: SandboxExec
  readonly #root: string

  constructor (exec: SandboxExec, root: string) {
    this.#exec = exec
    this.#root = root
  }

  async list (): Promise<Listing> {
    const running = await this.#exec.start(['sh', '-c', listScript, 'sync', this.#root])
    const listing: Listing = { entries: new Map(), problems: [], special: 0, missing: false }
    try {
      for await (const look of readLooks(new ByteReader(running.stdout))) {
        if (look.path === '.') continue
        if (!look.validName) listing.problems.push(badName(look.path))
        else if (isEntry(look)) listing.entries.set(look.path, toEntry(look))
        else listing.special++
      }
    } catch (error) {
      if (!(error instanceof EndOfStream)) throw error
      const { exitCode, stderr } = await running.finish()
      if (exitCode === scriptExit.noRoot) return { ...listing, missing: true }
      throw reason(exitCode, stderr)
    }
    const { stderr } = await running.finish()
    for (const [, path] of stderr.matchAll(/^find: '?\.\/(.*?)'?: Permission denied$/gm)) {
      listing.problems.push({ path: path!, code: 'UNREADABLE', message: 'The directory may not be read.' })
    }
    return listing
  }

  async * readMany (entries: Entry[]): AsyncGenerator<ReadEntry | Problem> {
    let todo = entries
    for (const delay of [...rereadDelays, undefined]) {
      const changed: Entry[] = []
      for await (const result of this.#readOnce(todo)) {
        if ('entry' in result || result.code !== 'CHANGED') yield result
        else if (delay === undefined) yield result
        else changed.push(todo.find(({ path }) => path === result.path)!)
      }
      if (changed.length === 0) return
      await sleep(delay)
      todo = changed
    }
  }

  async readLarge (entry: Entry): Promise<LargeRead> {
    const running = await this.#exec.start(['sh', '-c', readLargeScript, 'sync', this.#root, `./${entry.path}`])
    const reader = new ByteReader(running.stdout)
    const before = await this.#look(running, reader)
    const first = before.look?.type === 'file' ? toEntry(before.look) : undefined
    return {
      entry: first,
      chunks: chunksOf(reader, first?.size ?? 0),
      confirm: async () => {
        if (await reader.some(1) === undefined) await running.finish()
        else running.cancel()
        const again = await this.#exec.start(['sh', '-c', lookScript, 'sync', this.#root, `./${entry.path}`])
        const after = await this.#look(again)
        await again.finish()
        return stable(before.look, after.look, before.now) ? toEntry(after.look!) : undefined
      },
      cancel: () => running.cancel()
    }
  }

  async write (entries: AsyncIterable<WriteEntry>): Promise<string> {
    const stdin = gather(archive(entries), writeSize)
    const running = await this.#exec.start(['sh', '-c', writeScript, 'sync', this.#root], { stdin })
    await running.fed
    const { exitCode, stderr } = await running.finish()
    return exitCode === 0 ? '' : stderr
  }

  async remove (paths: string[]): Promise<void> {
    if (paths.length === 0) return
    await this.#exec.run(['sh', '-s', '--', this.#root], { stdin: removeScript + calls('drop', paths) })
  }

  async hash (paths: string[]): Promise<Map<string, string>> {
    const isOdd = (path: string) => /[\n\r\\]/.test(path)
    const odd = paths.filter(isOdd)
    const script = hashScript + calls('hash', paths.filter((path) => !isOdd(path))) +
      odd.map((path, index) => `odd ${quote(path)} ${index}\n`).join('')
    const { stdout } = await this.#exec.run(['sh', '-s', '--', this.#root], { stdin: script })
    const lines = stdout.matchAll(/^([0-9a-f]{64}) [ *](?:\.\/)?(.*)$/gm)
    const plain = new Set(paths.filter((path) => !isOdd(path)))
    return new Map([...lines].map(([, hash, name]) => [plain.has(name!) ? name! : odd[Number(name)] ?? name!, hash!]))
  }

  async * #readOnce (entries: Entry[]): AsyncGenerator<ReadEntry | Problem> {
    let queue = batchesOf(entries)
    for (let stuck = 0; queue.length > 0;) {
      const running = await this.#exec.start(['sh', '-s', '--', this.#root], { stdin: scriptFor(queue) })
      const reader = new ByteReader(running.stdout)
      let done = 0
      let over = false
      try {
        for (const batch of queue) {
          yield * await readBatch(reader, batch)
          done++
        }
        over = true
        await running.finish()
        return
      } catch (error) {
        if (!(error instanceof EndOfStream)) throw error
        over = true
      } finally {
        if (!over) running.cancel()
      }
      const { exitCode } = await running.finish().catch(() => ({ exitCode: -1 }))
      queue = queue.slice(done)
      if (exitCode === scriptExit.cut) {
        const [cut, ...rest] = queue
        queue = cut!.length === 1 ? rest : [...cut!.map((entry) => [entry]), ...rest]
        if (cut!.length === 1) yield changed(cut![0]!.path)
      } else if (done > 0) stuck = 0
      else if (++stuck === 3) throw reason(exitCode, '')
    }
  }

  async #look (running: Running, reader = new ByteReader(running.stdout)) {
    try {
      const { now, looks } = await looksOf(reader)
      return { now, look: looks.values().next().value }
    } catch (error) {
      throw await this.#lost(running, error)
    }
  }

  async #lost (running: Running, error: unknown): Promise<unknown> {
    if (!(error instanceof EndOfStream)) return error
    const { exitCode, stderr } = await running.finish()
    return reason(exitCode, stderr)
  }
}

function reason (exitCode: number, stderr: string): WorkspaceLost {
  if (exitCode === scriptExit.noRoot) return new WorkspaceLost('the workspace directory does not exist or may not be read')
  if (exitCode === scriptExit.noTools) return new WorkspaceLost('the image lacks find, stat, tar or cat')
  return new WorkspaceLost(`a command in the sandbox ended with ${exitCode}: ${stderr.slice(0, 300)}`)
}

async function readBatch (reader: ByteReader, batch: Entry[]): Promise<(ReadEntry | Problem)[]> {
  const { now, looks: before } = await looksOf(reader)
  const bodies = new Map<string, Buffer | undefined>()
  for (let member; (member = await readMember(reader)) !== undefined;) {
    // A second name of one file that does not carry its bytes; only busybox' tar writes it.
    bodies.set(member.name.replace(/^\.\//, ''), member.flag === '1' ? undefined : member.body)
  }
  await reader.skipZeros()
  const after = (await looksOf(reader, false)).looks
  return batch.map(({ path }) => {
    const look = after.get(path)
    if (look === undefined || !isEntry(look)) return gone(path)
    if (!bodies.has(path)) return before.has(path) ? unreadable(path) : changed(path)
    const body = bodies.get(path)
    if (body === undefined || !stable(before.get(path), look, now) || body.length !== look.size) return changed(path)
    return { entry: toEntry(look), body }
  })
}

async function looksOf (reader: ByteReader, timed = true) {
  const now = timed ? await reader.until('\n') : undefined
  if (timed && now === undefined) throw new EndOfStream()
  const looks = new Map<string, Look>()
  for await (const look of readLooks(reader)) looks.set(look.path, look)
  return { now: Number(now ?? 0), looks }
}

/**
 * Whether nothing changed a file between two looks. A change that is younger than what the clock of the file system can
 * tell apart may have company that leaves no trace: it has to be looked at again later.
 */
function stable (before: Look | undefined, after: Look | undefined, now: number): boolean {
  if (before === undefined || after === undefined) return false
  if (before.type !== after.type || before.size !== after.size) return false
  const youngest = before.ctime.includes('.') ? 0.02 : 2
  return before.mtime === after.mtime && before.ctime === after.ctime && now - Number(before.ctime) >= youngest
}

function batchesOf (entries: Entry[]): Entry[][] {
  const batches: Entry[][] = []
  let bytes = Infinity
  for (const entry of entries) {
    if (bytes + entry.size > batchBytes || batches.at(-1)!.length >= batchFiles) {
      batches.push([])
      bytes = 0
    }
    batches.at(-1)!.push(entry)
    bytes += entry.size
  }
  return batches
}

/** One line a batch, whatever its length: the reader relies on it. */
function scriptFor (batches: Entry[][]): string {
  return readScript + batches.map((batch) => calls('batch', batch.map(({ path }) => path), Infinity, Infinity)).join('')
}

/** Consecutive pieces of the stream, as they come, `size` bytes in all. */
async function * chunksOf (reader: ByteReader, size: number): AsyncGenerator<Uint8Array> {
  for (let left = size; left > 0;) {
    const chunk = await reader.some(left)
    if (chunk === undefined) return
    left -= chunk.length
    yield chunk
  }
}

async function * archive (entries: AsyncIterable<WriteEntry>): AsyncGenerator<Uint8Array> {
  for await (const entry of entries) {
    yield encodeHeader(entry)
    if (entry.type !== 'file' || entry.size === 0) continue
    if (entry.body instanceof Uint8Array) yield entry.body
    else yield * entry.body!
    yield tarPadding(entry.size)
  }
  yield tarEnd
}

/** Small chunks together, large ones as they are: every write to a process is a call. */
async function * gather (chunks: AsyncIterable<Uint8Array>, size: number): AsyncGenerator<Uint8Array> {
  let kept: Uint8Array[] = []
  let length = 0
  for await (const chunk of chunks) {
    if (chunk.length === 0) continue
    kept.push(chunk)
    length += chunk.length
    if (length < size) continue
    yield kept.length === 1 ? kept[0]! : Buffer.concat(kept)
    kept = []
    length = 0
  }
  if (length > 0) yield Buffer.concat(kept)
}

function isEntry (look: Look): look is Look & Entry {
  return look.type !== 'special'
}

function toEntry ({ path, type, mode, size, mtime, ctime, uid, gid }: Look): Entry {
  return { path, type: type as Entry['type'], mode, size, mtime, ctime, uid, gid }
}

const changed = (path: string): Problem => ({ path, code: 'CHANGED', message: 'The file keeps changing while it is read.' })
const gone = (path: string): Problem => ({ path, code: 'GONE', message: 'The file was removed during the sync.' })
const unreadable = (path: string): Problem => ({ path, code: 'UNREADABLE', message: 'The file may not be read.' })
const badName = (path: string): Problem => ({ path, code: 'NAME_NOT_UTF8', message: 'S3 can not carry a name that is not UTF-8.' })
