import { objectId } from '../control/ids.js'
import type { QueueRecord } from '../control/state.js'

/** The SDK sends a heartbeat every 5 minutes; an ephemeral queue is gone after three missed ones. */
const lifeMs = 15 * 60_000

/** Queues without a name, in memory: they are there while heartbeats arrive. */
export class EphemeralQueues {
  readonly #queues = new Map<string, { queue: QueueRecord, heardAt: number }>()
  readonly #now: () => number

  constructor (now: () => number = Date.now) {
    this.#now = now
  }

  add (environment: string): QueueRecord {
    this.#forgetSilent()
    const queue: QueueRecord = { id: objectId('qu'), name: '', environment, partitions: {} }
    this.#queues.set(queue.id, { queue, heardAt: this.#now() })
    return queue
  }

  get (id: string): QueueRecord | undefined {
    this.#forgetSilent()
    return this.#queues.get(id)?.queue
  }

  /** Notes a heartbeat. Returns whether there is such a queue. */
  heard (id: string): boolean {
    const queue = this.get(id)
    if (queue) this.#queues.set(id, { queue, heardAt: this.#now() })
    return queue !== undefined
  }

  delete (id: string): void {
    this.#queues.delete(id)
  }

  #forgetSilent (): void {
    for (const [id, { heardAt }] of this.#queues) if (this.#now() - heardAt > lifeMs) this.#queues.delete(id)
  }
}
