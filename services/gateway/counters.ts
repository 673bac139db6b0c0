import { mkdir, readdir, readFile, rename, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { Type } from '@sinclair/typebox'
import { Value } from '@sinclair/typebox/value'
import { slug } from '../modal/names.js'
import type { Counter, CounterStore } from './spending.js'

/** A place for small objects: a prefix in S3, or a directory. */
export interface Objects {
  /** Keys that begin with `start`, with what changes when their object does. */
  list (start: string): Promise<Array<{ key: string, version: string }>>
  get (key: string): Promise<Buffer>
  put (key: string, body: Buffer): Promise<void>
}

const Amount = Type.Number({ minimum: 0 })
const StoredCounter = Type.Object({
  version: Type.Literal(1),
  accountId: Type.String(),
  month: Type.String(),
  replica: Type.String(),
  usd: Amount,
  runs: Type.Record(Type.String(), Type.Object({ usd: Amount, at: Amount }))
})

/** Counters as objects `<account>/<month>/<replica>.json`; see docs/usage-format.md. */
export class StoredCounters implements CounterStore {
  readonly #objects: Objects
  /** By key, so that only what has changed is read again. */
  readonly #read = new Map<string, { version: string, counter: Counter }>()

  constructor (objects: Objects) {
    this.#objects = objects
  }

  async write (counter: Counter): Promise<void> {
    await this.#objects.put(`${folder(counter)}${counter.replica}.json`, Buffer.from(JSON.stringify(counter)))
  }

  /** @throws when one cannot be read: without it, too little would count as spent. */
  async readOthers (accountId: string, month: string, replica: string): Promise<Counter[]> {
    const start = folder({ accountId, month })
    const found = (await this.#objects.list(start)).filter(({ key }) => key !== `${start}${replica}.json`)
    return await Promise.all(found.map(async ({ key, version }) => {
      const known = this.#read.get(key)
      if (known?.version === version) return known.counter
      const counter: unknown = JSON.parse(String(await this.#objects.get(key)))
      if (!Value.Check(StoredCounter, counter)) throw new Error(`${key} is not a counter of spending`)
      this.#read.set(key, { version, counter })
      return counter
    }))
  }
}

function folder ({ accountId, month }: Pick<Counter, 'accountId' | 'month'>): string {
  return `${slug(accountId)}/${month}/`
}

/** Files below a directory of this machine. */
export class DirectoryObjects implements Objects {
  readonly #root: string

  constructor (root: string) {
    this.#root = root
  }

  async list (start: string): Promise<Array<{ key: string, version: string }>> {
    const names = await readdir(join(this.#root, start)).catch((error: NodeJS.ErrnoException) => {
      if (error.code === 'ENOENT') return []
      throw error
    })
    // They are small, so each is read again every time.
    return names.filter((name) => name.endsWith('.json')).map((name) => ({ key: start + name, version: String(Math.random()) }))
  }

  async get (key: string): Promise<Buffer> {
    return await readFile(join(this.#root, key))
  }

  async put (key: string, body: Buffer): Promise<void> {
    const file = join(this.#root, key)
    await mkdir(dirname(file), { recursive: true })
    await writeFile(`${file}.tmp`, body, { mode: 0o600 })
    await rename(`${file}.tmp`, file)
  }
}
