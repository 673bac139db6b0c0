import { readFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { ByteReader } from './byte-reader.js'
import { CourierLost, type Courier, type CourierAnswer } from './courier.js'
import { Held } from './held.js'
import { seconds, stable } from './looks.js'
import type { ExecInput, Running } from './sandbox-exec.js'
import { WorkspaceLost, type Entry } from './workspace.js'

const gatherMs = 4
const program = readFileSync(new URL('mover.cjs', import.meta.url), 'utf8')

export type Starter = (command: string[], input: ExecInput) => Promise<Running>

/** A file as it was when all of it was read, whose bytes wait to be stored. */
export interface Taken { entry: Entry, hash: string, courier: Courier, drop: () => void }

/** Why there is nothing to store: it is gone, may not be read, changes, or is too large to be taken whole. */
export type Refused = 'GONE' | 'UNREADABLE' | 'CHANGED' | 'LARGE'

export interface Answer extends CourierAnswer {
  before?: string
  after?: string
  now?: number
  large?: boolean
  short?: boolean
  exitCode?: number
  complaints?: string
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
      const { code } = await mover.ask('hello', { origin })
      if (code === undefined) return mover
    } catch (error) {
      if (!(error instanceof CourierLost)) throw error
    }
    await mover.close()
  }

  /** Reads a file of at most `most` bytes while nothing changes it. @throws {CourierLost} */
  async take (path: string, most: number): Promise<Taken | Refused> {
    const body = ++this.#count
    const answer = await this.ask('take', { body, path, most })
    if (answer.code !== undefined) return refusal(answer.code)
    if (answer.large) return 'LARGE'
    const entry = this.#settled(path, answer)
    if (entry !== undefined) return { entry, ...this.#taken(body, answer) }
    this.#drop(body)
    return 'CHANGED'
  }

  /** Opens a file that is to be read in parts. @throws {CourierLost} */
  async open (path: string): Promise<OpenFile | Refused> {
    const file = ++this.#count
    const { code, before, now } = await this.ask('open', { file, path })
    if (code !== undefined) return refusal(code)
    return {
      entry: entryOf(path, before!),
      read: async (start, length) => {
        const body = ++this.#count
        const answer = await this.ask('read', { file, body, start, length })
        if (answer.code === undefined && !answer.short) return this.#taken(body, answer)
      },
      close: async () => {
        const { after } = await this.ask('close', { file })
        return this.#settled(path, { before: before!, after: after ?? '', now: now! })
      }
    }
  }

  /** Has `send` fetch something by it. @returns the bytes, kept there, and its answer. @throws what it throws. */
  async fetch (size: number, send: (courier: Courier) => Promise<string>): Promise<{ held: Held, hash: string }> {
    const body = ++this.#count
    const hash = await send((permit) => this.ask('get', { ...permit, body, size }))
    return { held: new Held(body, size), hash }
  }

  /** Ends it, and everything that waits for it. */
  async close (): Promise<void> {
    this.#fail(new CourierLost('it was closed'))
    const running = await this.#running.catch(() => undefined)
    await running?.finish().catch(() => {})
  }

  #taken (body: number, { hash }: Answer) {
    const courier: Courier = (permit) => this.ask('put', { ...permit, body })
    return { hash: hash!, courier, drop: () => this.#drop(body) }
  }

  #drop (body: number) {
    this.ask('drop', { body }).catch(() => {})
  }

  #settled (path: string, { before, after, now }: Pick<Answer, 'before' | 'after' | 'now'>): Entry | undefined {
    if (before === undefined || after === undefined || after === '') return
    const [first, last] = [entryOf(path, before), entryOf(path, after)]
    return stable(first, last, now! / 1000) ? last : undefined
  }

  /** Has it do something. @throws {CourierLost} */
  ask (task: string, details: object): Promise<Answer> {
    if (this.#lost !== undefined) return Promise.reject(this.#lost)
    const id = ++this.#count
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

export interface OpenFile {
  entry: Entry
  /** @returns undefined when it has become too short for it. */
  read (start: number, length: number): Promise<Omit<Taken, 'entry'> | undefined>
  /** @returns the entry, when nothing has changed it since it was opened. */
  close (): Promise<Entry | undefined>
}

function refusal (code: string): Refused {
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
