import { readFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { ByteReader, EndOfStream } from '../../../lib/byte-reader.js'
import { cleanEnvironment } from '../../modal/script.js'
import { withRetries } from '../s3/errors.js'
import type { PresignedResponse } from '../s3/http.js'
import { partPrefix } from '../s3/keys.js'
import type { ObjectStore } from '../s3/object-store.js'
import type { CommandInput, RunningCommand } from '../workspace/commands.js'
import { WorkspaceLost } from '../workspace/workspace.js'
import { agentAttempts, isWorthAgent } from './limits.js'

/** Starts a command where the workspace is. */
export type StartCommand = (command: string[], input: CommandInput) => Promise<RunningCommand>

/** What the agent answers; which fields there are depends on the task. See docs/decisions/0004-transfer-agent.md. */
export interface AgentReply extends PresignedResponse {
  /** The error code of the file system there, of a task that also sends a request to S3. */
  fileError?: string
  /** SHA-256 of what was read or fetched. */
  hash?: string
  /** MD5 of what was fetched, where the SHA-256 does not prove it. */
  md5?: string
  /** The file does not have the MD5 that it should have, and did not get its name. */
  damaged?: boolean
  /** What `stat` said of a file before and after it was read, and the time in between. */
  before?: string
  after?: string
  now?: number
  /** The file is larger than it may be. */
  large?: boolean
  /** The file has become too short for the part. */
  short?: boolean
  /** Whether a file was read again in its place as it was written. */
  verified?: boolean
  /** Indexes of files that could not be packed or unpacked. */
  failed?: number[]
}

/** The agent does not transfer anything any more; the service still can. */
export class AgentUnavailable extends Error {
  constructor (message: string, cause?: unknown) {
    super(message, { cause })
    this.name = 'AgentUnavailable'
  }
}

/** The file system of the workspace is the reason why the agent could not transfer a file, not S3. */
export class LocalFileError extends Error {
  /** @param code the file system's. */
  constructor (code: string) {
    super(code)
    this.name = 'LocalFileError'
  }
}

/** Every write to a process is a call: messages wait this long for others to go with them. */
const batchDelayMs = 4

/**
 * A program in the sandbox that sends files to S3 and fetches objects, so that their bytes do not pass through the
 * service. It has no credentials: for each request it gets one that is presigned, good for one object or part only.
 *
 * What it says about files is believed as is what `tar` and `stat` say there. What it uploads S3 checks against the
 * signed hash; what it says it has downloaded is compared with the manifest and the listing.
 */
export class TransferAgent {
  readonly #calls = new Map<number, { resolve: (reply: AgentReply) => void, reject: (error: unknown) => void }>()
  readonly #running: Promise<RunningCommand>
  #outbox: string[] = []
  #wake = () => {}
  #closed = false
  #lost: unknown
  #count = 0

  private constructor (start: StartCommand, root: string) {
    const command = ['sh', '-c', `${cleanEnvironment}exec node -e "$1" "$2"`, 'sync', program, root]
    this.#running = start(command, { stdin: this.#messages() })
    this.#listen().catch((error: unknown) => {
      // What is in the way of a program there is for the service to do itself; a sync that was stopped stays stopped.
      const isLost = error instanceof WorkspaceLost || error instanceof EndOfStream || error instanceof SyntaxError
      this.#fail(isLost ? new AgentUnavailable('the transfer agent was lost', error) : error)
    })
  }

  /** @returns undefined where there is no Node.js, or from where S3 cannot be reached. */
  static async open (start: StartCommand, root: string, origin: string): Promise<TransferAgent | undefined> {
    const agent = new TransferAgent(start, root)
    try {
      const { code } = await agent.call('connect', { origin, partialPrefix: partPrefix })
      if (code === undefined) return agent
    } catch (error) {
      if (!(error instanceof AgentUnavailable)) throw error
    }
    await agent.close()
  }

  /** A new number, by which later tasks refer to a file or to bytes that the agent holds. */
  nextId (): number {
    return ++this.#count
  }

  /** Ends the program, and rejects the calls that are still waiting. */
  async close (): Promise<void> {
    this.#fail(new AgentUnavailable('it was closed'))
    const running = await this.#running.catch(() => undefined)
    await running?.finish().catch(() => {})
  }

  /** Gives the agent a task and waits for its reply. @throws {AgentUnavailable} */
  call (task: string, details: object): Promise<AgentReply> {
    if (this.#lost !== undefined) return Promise.reject(this.#lost)
    const id = this.nextId()
    this.#outbox.push(`${JSON.stringify({ id, task, ...details })}\n`)
    this.#wake()
    return new Promise((resolve, reject) => { this.#calls.set(id, { resolve, reject }) })
  }

  async * #messages (): AsyncGenerator<Uint8Array> {
    while (!this.#closed) {
      if (this.#outbox.length === 0) await new Promise<void>((resolve) => { this.#wake = resolve })
      await sleep(batchDelayMs)
      const text = this.#outbox.join('')
      this.#outbox = []
      if (text !== '') yield Buffer.from(text)
    }
  }

  async #listen () {
    const running = await this.#running
    const reader = new ByteReader(running.stdout)
    for (let line; (line = await reader.until('\n')) !== undefined;) {
      const { id, ...reply } = JSON.parse(line.toString()) as AgentReply & { id: number }
      this.#calls.get(id)?.resolve(reply)
      this.#calls.delete(id)
    }
    throw new AgentUnavailable('the transfer agent has ended')
  }

  #fail (error: unknown) {
    this.#closed = true
    this.#lost ??= error
    for (const { reject } of this.#calls.values()) reject(this.#lost)
    this.#calls.clear()
    this.#wake()
  }
}

/** Launches the agent of a sync: at most once, and not before there is enough to transfer. */
export class AgentLauncher {
  readonly #start: StartCommand
  readonly #root: string
  #agent: Promise<TransferAgent | undefined> | undefined

  constructor (start: StartCommand, root: string) {
    this.#start = start
    this.#root = root
  }

  /** @returns undefined when the service has to transfer the files itself. */
  async agentFor (
    files: { size: number }[], { origin }: Pick<ObjectStore, 'origin'>
  ): Promise<TransferAgent | undefined> {
    if (!isWorthAgent(files)) return
    this.#agent ??= TransferAgent.open(this.#start, this.#root, origin)
    return await this.#agent
  }

  async close (): Promise<void> {
    const agent = await this.#agent
    this.#agent = Promise.resolve(undefined)
    await agent?.close()
  }
}

/**
 * Repeats an exchange with S3 through the agent: presign, send, accept. A repetition is signed anew, with new
 * credentials or by S3's clock where that was the error.
 * @throws {S3Error | AgentUnavailable | LocalFileError}
 */
export async function retryExchange<T> (store: ObjectStore, exchange: () => Promise<T>): Promise<T> {
  return await withRetries(exchange, {
    signal: store.signal, attempts: agentAttempts, onError: (error) => store.prepareRetry(error)
  })
}

/** In the order in which they need each other. */
const modules = ['files', 'http', 'read', 'write', 'main']

/** What the agent runs in the sandbox, as one text for `node -e`; Node.js 16 and later can run it. */
const program = `
const loaded = {}
const load = (name) => loaded[name] ?? require(name)
const add = (name, define) => {
  const module = {}
  define(module, load)
  loaded[name] = module.exports
}
${modules.map((name) => `add('./${name}.cjs', (module, require) => {\n${readModule(name)}})`).join('\n')}`

function readModule (name: string): string {
  return readFileSync(new URL(`agent/${name}.cjs`, import.meta.url), 'utf8')
}
