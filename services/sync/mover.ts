import { setTimeout as sleep } from 'node:timers/promises'
import { ByteReader } from './byte-reader.js'
import { CourierLost, type CourierAnswer } from './courier.js'
import { partPrefix } from './keys.js'
import { program } from './mover-program.js'
import type { ExecInput, Running } from './sandbox-exec.js'
import { WorkspaceLost } from './workspace.js'

const gatherMs = 4

export type Starter = (command: string[], input: ExecInput) => Promise<Running>

export interface Answer extends CourierAnswer {
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
export class Mover {
  readonly #calls = new Map<number, { resolve: (answer: Answer) => void, reject: (error: unknown) => void }>()
  readonly #running: Promise<Running>
  #outbox: string[] = []
  #wake = () => {}
  #closed = false
  #lost: unknown
  #count = 0

  private constructor (start: Starter, root: string) {
    const command = ['sh', '-c', 'exec node -e "$1" "$2"', 'sync', program, root]
    this.#running = start(command, { stdin: this.#messages() })
    this.#listen().catch((error: unknown) => {
      this.#fail(error instanceof WorkspaceLost ? new CourierLost('the program in the sandbox was lost', error) : error)
    })
  }

  /** @returns undefined where there is no Node.js, or S3 can't be reached from there. */
  static async open (start: Starter, root: string, origin: string): Promise<Mover | undefined> {
    const mover = new Mover(start, root)
    try {
      const { code } = await mover.ask('hello', { origin, partPrefix })
      if (code === undefined) return mover
    } catch (error) {
      if (!(error instanceof CourierLost)) throw error
    }
    await mover.close()
  }

  /** Names something there that is new to it. */
  number (): number {
    return ++this.#count
  }

  /** Ends it, and everything that waits for it. */
  async close (): Promise<void> {
    this.#fail(new CourierLost('it was closed'))
    const running = await this.#running.catch(() => undefined)
    await running?.finish().catch(() => {})
  }

  /** Has it do something. @throws {CourierLost} */
  ask (task: string, details: object): Promise<Answer> {
    if (this.#lost !== undefined) return Promise.reject(this.#lost)
    const id = this.number()
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
      const { id, ...answer } = JSON.parse(line.toString()) as Answer & { id: number }
      this.#calls.get(id)?.resolve(answer)
      this.#calls.delete(id)
    }
    throw new CourierLost('the program in the sandbox has ended')
  }

  #fail (error: unknown) {
    this.#closed = true
    this.#lost ??= error
    for (const { reject } of this.#calls.values()) reject(this.#lost)
    this.#calls.clear()
    this.#wake()
  }
}
