import { fsTools } from '../container/command.js'
import type { Container, Process, Spool } from '../container/types.js'
import { FileError } from './open-file.js'

/** What the programs behind the SDK's filesystem calls say, as error numbers of Linux. */
const errnos: Record<string, number> = {
  NotFound: 2, PermissionDenied: 13, PathAlreadyExists: 17, AlreadyExists: 17, NotDirectory: 20, IsDirectory: 21
}

/** A watch that nobody reads ends after that time: older SDKs have no other way to end it. */
const unreadMs = 60_000

/**
 * What a program behind the SDK's filesystem calls says.
 * @throws {FileError}
 */
export async function runTool (container: Container, operation: object): Promise<Buffer> {
  const process = await container.exec({ command: [fsTools, JSON.stringify(operation)] })
  process.stdin.end()
  try {
    const output = await contentOf(process.stdout)
    await checkExit(process)
    return output
  } finally {
    await process.discard()
  }
}

/** Without a time-out it goes on until nobody reads it. */
interface WatchRequest { path: string, recursive: boolean, timeoutSecs?: number }

/** What happens at a path, for readers that come and go. */
export class WatchedPath {
  readonly #process: Process
  #read = 0
  #line = ''
  #unread: NodeJS.Timeout | undefined

  private constructor (process: Process) {
    this.#process = process
  }

  static async start (container: Container, { path, recursive, timeoutSecs }: WatchRequest): Promise<WatchedPath> {
    const operation = { Watch: { path, recursive, filter: null, timeout_secs: timeoutSecs ?? null } }
    return new WatchedPath(await container.exec({ command: [fsTools, JSON.stringify(operation)] }))
  }

  get ended (): Promise<unknown> {
    return this.#process.exited
  }

  async discard (): Promise<void> {
    clearTimeout(this.#unread)
    this.#process.stdin.end()
    await this.#process.drained
    await this.#process.discard()
  }

  /**
   * The events that no reader has got, each with an empty line behind it, until the watch ends.
   * @throws {FileError}; the reason of an aborted signal
   */
  async * rest (signal: AbortSignal): AsyncIterable<Buffer> {
    clearTimeout(this.#unread)
    try {
      for await (const chunk of this.#process.stdout.read(this.#read, signal)) {
        this.#read += chunk.length
        const lines = `${this.#line}${chunk.toString('latin1')}`.split('\n')
        this.#line = lines.pop()!
        for (const line of lines) yield Buffer.from(eventOf(line), 'latin1')
      }
      signal.throwIfAborted()
      await checkExit(this.#process)
    } finally {
      this.#unread = setTimeout(() => { this.#process.stdin.end() }, unreadMs).unref()
    }
  }
}

/** These SDKs know renames as changes. */
const eventOf = (line: string): string => `${line.replace(/("event_type":\s*")Rename\w*"/, '$1Modify"')}\n\n`

async function contentOf (spool: Spool): Promise<Buffer> {
  const parts = []
  for await (const part of spool.read(0)) parts.push(part)
  return Buffer.concat(parts)
}

async function checkExit (process: Process): Promise<void> {
  const status = await process.exited
  if ('code' in status && status.code === 0) return
  const text = (await contentOf(process.stderr)).toString()
  const { error_kind: kind, message } = JSON.parse(text || '{"message":"the operation was interrupted"}')
  throw new FileError(errnos[kind] ?? 0, message)
}
