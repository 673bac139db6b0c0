import { setTimeout as sleep } from 'node:timers/promises'
import { ByteReader, EndOfStream } from '../../../lib/byte-reader.js'
import type { RunningCommand, SandboxCommands } from './commands.js'
import { readBatches, readRecords } from './read-batches.js'
import { calls, inputCommand, lostReason, quotePath, scriptCommand, scripts } from './scripts.js'
import { isUnchanged, readListing, toEntry } from './stat-records.js'
import { coalesce, tarArchive } from './tar.js'
import {
  rereadDelays, type Entry, type LargeRead, type Listing, type Problem, type ReadEntry, type Workspace,
  type WriteEntry
} from './workspace.js'

const writeBytes = 1024 * 1024

/** A directory in a sandbox, which needs nothing but sh, find, stat, tar, cat and sha256sum. */
export class SandboxWorkspace implements Workspace {
  readonly #commands: SandboxCommands
  readonly #root: string
  #startedListing: ByteReader | undefined

  /** @param startedListing the output of a list script that runs already. */
  constructor (commands: SandboxCommands, root: string, startedListing?: ByteReader) {
    this.#commands = commands
    this.#root = root
    this.#startedListing = startedListing
  }

  async list (): Promise<Listing> {
    const started = this.#startedListing
    this.#startedListing = undefined
    if (started !== undefined) return await readListing(started)
    const running = await this.#commands.start(scriptCommand(scripts.list, this.#root))
    const listing = await readListing(new ByteReader(running.stdout))
    await running.finish()
    return listing
  }

  async * readMany (entries: Entry[]): AsyncGenerator<ReadEntry | Problem> {
    let todo = entries
    for (const delay of [...rereadDelays, undefined]) {
      const changed: Entry[] = []
      for await (const result of readBatches(this.#commands, this.#root, todo)) {
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
    const running = await this.#commands.start(scriptCommand(scripts.readLarge, this.#root, `./${entry.path}`))
    const reader = new ByteReader(running.stdout)
    const before = await this.#readRecord(running, reader)
    const first = before.record?.type === 'file' ? toEntry(before.record) : undefined
    return {
      entry: first,
      chunks: chunksOf(reader, first?.size ?? 0),
      confirm: async () => {
        if (await reader.some(1) === undefined) await running.finish()
        else running.cancel()
        const again = await this.#commands.start(scriptCommand(scripts.stat, this.#root, `./${entry.path}`))
        const after = await this.#readRecord(again)
        await again.finish()
        return isUnchanged(before.record, after.record, before.now) ? toEntry(after.record!) : undefined
      },
      cancel: () => running.cancel()
    }
  }

  async write (entries: AsyncIterable<WriteEntry>): Promise<string> {
    const stdin = coalesce(tarArchive(entries), writeBytes)
    const running = await this.#commands.start(scriptCommand(scripts.write, this.#root), { stdin })
    await running.written
    const { exitCode, stderr } = await running.finish()
    return exitCode === 0 ? '' : stderr
  }

  async remove (paths: string[]): Promise<void> {
    if (paths.length === 0) return
    await this.#commands.run(inputCommand(this.#root), { stdin: scripts.remove + calls('remove', paths) })
  }

  async hash (paths: string[]): Promise<Map<string, string>> {
    if (paths.length === 0) return new Map()
    const isEscaped = (path: string) => /[\n\r\\]/.test(path)
    const escaped = paths.filter(isEscaped)
    const plain = new Set(paths.filter((path) => !isEscaped(path)))
    const script = scripts.hash + calls('hash_files', [...plain]) +
      escaped.map((path, index) => `hash_as ${index} ${quotePath(path)}\n`).join('')
    const { stdout } = await this.#commands.run(inputCommand(this.#root), { stdin: script })
    const lines = stdout.matchAll(/^([0-9a-f]{64}) [ *](?:\.\/)?(.*)$/gm)
    const pathOf = (name: string) => plain.has(name) ? name : escaped[Number(name)] ?? name
    return new Map([...lines].map(([, hash, name]) => [pathOf(name!), hash!]))
  }

  async #readRecord (running: RunningCommand, reader = new ByteReader(running.stdout)) {
    try {
      const { now, records } = await readRecords(reader)
      return { now, record: records.values().next().value }
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

/** The next `size` bytes of the stream, in chunks as they arrive. */
async function * chunksOf (reader: ByteReader, size: number): AsyncGenerator<Uint8Array> {
  for (let left = size; left > 0;) {
    const chunk = await reader.some(left)
    if (chunk === undefined) return
    left -= chunk.length
    yield chunk
  }
}
