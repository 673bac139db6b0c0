import { setTimeout as sleep } from 'node:timers/promises'
import { ByteReader, EndOfStream } from '../../../lib/byte-reader.js'
import { tarArchive, coalesce } from './archive.js'
import type { RunningCommand, SandboxCommands } from './commands.js'
import { readListing } from './listing.js'
import { readStats, readBatches } from './read-batches.js'
import {
  hashScript, calls, listScript, statScript, lostReason, quote, readLargeScript, removeScript, writeScript
} from './scripts.js'
import { isUnchanged, toEntry } from './stat-records.js'
import {
  rereadDelays, type Entry, type LargeRead, type Listing, type Problem, type ReadEntry, type Workspace,
  type WriteEntry
} from './workspace.js'

const writeSize = 1024 * 1024

/** A directory in a sandbox, reached by one command each way, with no more in it than sh, find, stat, tar and cat. */
export class SandboxWorkspace implements Workspace {
  readonly #exec: SandboxCommands
  readonly #root: string
  #begun: ByteReader | undefined

  /** @param begun what a list script says that was started already. */
  constructor (exec: SandboxCommands, root: string, begun?: ByteReader) {
    this.#exec = exec
    this.#root = root
    this.#begun = begun
  }

  async list (): Promise<Listing> {
    const begun = this.#begun
    this.#begun = undefined
    if (begun !== undefined) return await readListing(begun)
    const running = await this.#exec.start(['sh', '-c', listScript, 'sync', this.#root])
    const listing = await readListing(new ByteReader(running.stdout))
    await running.finish()
    return listing
  }

  async * readMany (entries: Entry[]): AsyncGenerator<ReadEntry | Problem> {
    let todo = entries
    for (const delay of [...rereadDelays, undefined]) {
      const changed: Entry[] = []
      for await (const result of readBatches(this.#exec, this.#root, todo)) {
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
        const again = await this.#exec.start(['sh', '-c', statScript, 'sync', this.#root, `./${entry.path}`])
        const after = await this.#look(again)
        await again.finish()
        return isUnchanged(before.look, after.look, before.now) ? toEntry(after.look!) : undefined
      },
      cancel: () => running.cancel()
    }
  }

  async write (entries: AsyncIterable<WriteEntry>): Promise<string> {
    const stdin = coalesce(tarArchive(entries), writeSize)
    const running = await this.#exec.start(['sh', '-c', writeScript, 'sync', this.#root], { stdin })
    await running.written
    const { exitCode, stderr } = await running.finish()
    return exitCode === 0 ? '' : stderr
  }

  async remove (paths: string[]): Promise<void> {
    if (paths.length === 0) return
    await this.#exec.run(['sh', '-s', '--', this.#root], { stdin: removeScript + calls('drop', paths) })
  }

  async hash (paths: string[]): Promise<Map<string, string>> {
    if (paths.length === 0) return new Map()
    const isOdd = (path: string) => /[\n\r\\]/.test(path)
    const odd = paths.filter(isOdd)
    const script = hashScript + calls('hash', paths.filter((path) => !isOdd(path))) +
      odd.map((path, index) => `odd ${quote(path)} ${index}\n`).join('')
    const { stdout } = await this.#exec.run(['sh', '-s', '--', this.#root], { stdin: script })
    const lines = stdout.matchAll(/^([0-9a-f]{64}) [ *](?:\.\/)?(.*)$/gm)
    const plain = new Set(paths.filter((path) => !isOdd(path)))
    return new Map([...lines].map(([, hash, name]) => [plain.has(name!) ? name! : odd[Number(name)] ?? name!, hash!]))
  }

  async #look (running: RunningCommand, reader = new ByteReader(running.stdout)) {
    try {
      const { now, looks } = await readStats(reader)
      return { now, look: looks.values().next().value }
    } catch (error) {
      throw await this.#lost(running, error)
    }
  }

  async #lost (running: RunningCommand, error: unknown): Promise<unknown> {
    if (!(error instanceof EndOfStream)) return error
    const { exitCode, stderr } = await running.finish()
    return lostReason(exitCode, stderr)
  }
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
