import { setTimeout as sleep } from 'node:timers/promises'
import { ByteReader } from '../../../lib/byte-reader.js'
import { partPrefix } from '../s3/keys.js'
import type { CommandInput, RunningCommand } from '../workspace/commands.js'
import { WorkspaceLost } from '../workspace/workspace.js'
import { program } from './agent-program.js'
import { AgentUnavailable, type PresignedResponse } from './courier.js'

const gatherMs = 4

export type StartCommand = (command: string[], input: CommandInput) => Promise<RunningCommand>

export interface AgentReply extends PresignedResponse {
  /** Why the files there, and not S3, are in the way. */
  refused?: string
  /** What was seen of a file, and when. */
  before?: string
  after?: string
  now?: number
  large?: boolean
  short?: boolean
  /** Whether a file that was put in its place was read there as it was written. */
  proved?: boolean
  /** Indexes of files that could not be packed or unpacked. */
  failed?: number[]
}

/**
 * A program in the sandbox that sends files to S3 and fetches objects itself, so that their bytes don't pass through
 * here. It has no credentials: it gets a permit for each request, good for that one object or part and no other.
 * What it says about files is believed as is what `tar` and `stat` say there; of bodies S3 checks the hash.
 */
export class TransferAgent {
  readonly #calls = new Map<number, { resolve: (answer: AgentReply) => void, reject: (error: unknown) => void }>()
  readonly #running: Promise<RunningCommand>
  #outbox: string[] = []
  #wake = () => {}
  #closed = false
  #lost: unknown
  #count = 0

  private constructor (start: StartCommand, root: string) {
    const command = ['sh', '-c', 'exec node -e "$1" "$2"', 'sync', program, root]
    this.#running = start(command, { stdin: this.#messages() })
    this.#listen().catch((error: unknown) => {
      this.#fail(error instanceof WorkspaceLost ? new AgentUnavailable('the program in the sandbox was lost', error) : error)
    })
  }

  /** @returns undefined where there is no Node.js, or S3 can't be reached from there. */
  static async open (start: StartCommand, root: string, origin: string): Promise<TransferAgent | undefined> {
    const mover = new TransferAgent(start, root)
    try {
      const { code } = await mover.call('hello', { origin, partPrefix })
      if (code === undefined) return mover
    } catch (error) {
      if (!(error instanceof AgentUnavailable)) throw error
    }
    await mover.close()
  }

  /** Names something there that is new to it. */
  nextId (): number {
    return ++this.#count
  }

  /** Ends it, and everything that waits for it. */
  async close (): Promise<void> {
    this.#fail(new AgentUnavailable('it was closed'))
    const running = await this.#running.catch(() => undefined)
    await running?.finish().catch(() => {})
  }

  /** Has it do something. @throws {AgentUnavailable} */
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
      // Every write is a call: it costs more than to wait for some company.
      await sleep(gatherMs)
      const text = this.#outbox.join('')
      this.#outbox = []
      if (text !== '') yield Buffer.from(text)
    }
  }

  async #listen () {
    const running = await this.#running
    const reader = new ByteReader(running.stdout)
    for (let line; (line = await reader.until('\n')) !== undefined;) {
      const { id, ...answer } = JSON.parse(line.toString()) as AgentReply & { id: number }
      this.#calls.get(id)?.resolve(answer)
      this.#calls.delete(id)
    }
    throw new AgentUnavailable('the program in the sandbox has ended')
  }

  #fail (error: unknown) {
    this.#closed = true
    this.#lost ??= error
    for (const { reject } of this.#calls.values()) reject(this.#lost)
    this.#calls.clear()
    this.#wake()
  }
}
