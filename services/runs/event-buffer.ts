/** One event of a run; `id` is the position in the run's log just after it. */
export interface RunEvent {
  id: number
  event: string
  /** Its data, as JSON. */
  json: string
}

const keptBytes = 2 * 1024 * 1024
const batchBytes = 1024 * 1024
/** What an event costs on top of its JSON. */
const overheadBytes = 120

/**
 * The latest events of a run in order, from `start` on, for readers that are close behind; older ones are in the log.
 * Readers pull at their own pace, so a slow one does not hold up the others.
 */
export class EventBuffer {
  readonly #events: RunEvent[] = []
  #first = 0
  #bytes = 0
  #start: number
  #last: number
  #ended = false
  /** Whether it began with the log, so that every event has been in it at some time. */
  readonly complete: boolean
  #latest: { after: number, batch: RunEvent[] } | undefined
  #wake: () => void = () => {}
  #change!: Promise<void>
  readonly #limit: number

  /** @param start position in the log of the first event that will be appended. */
  constructor (start: number, limit = keptBytes) {
    this.#start = start
    this.#last = start
    this.complete = start === 0
    this.#limit = limit
    this.#renew()
  }

  /** Events after this position are here. */
  get start (): number {
    return this.#start
  }

  /** Where its last event ends. */
  get lastId (): number {
    return this.#last
  }

  get ended (): boolean {
    return this.#ended
  }

  /** Approximate memory that its events take. */
  get bytes (): number {
    return this.#bytes
  }

  /** Settles when anything has changed. */
  get change (): Promise<void> {
    return this.#change
  }

  append (events: RunEvent[]): void {
    this.#latest = undefined
    for (const { id, event, json } of events) {
      this.#events.push({ id, event, json })
      this.#bytes += sizeOf(json)
      this.#last = id
      while (this.#bytes > this.#limit && this.#first < this.#events.length - 1) this.#drop()
      if (this.#first > 1000) this.#first -= this.#events.splice(0, this.#first).length
    }
    if (events.length > 0) this.wake()
  }

  end (): void {
    this.#ended = true
    this.wake()
  }

  /**
   * The next events after a position that is not before {@link start}. Readers at the same position get the same array,
   * which then has to be encoded only once.
   */
  take (after: number): RunEvent[] {
    if (this.#latest?.after !== after) this.#latest = { after, batch: this.#take(after) }
    return this.#latest.batch
  }

  #take (after: number): RunEvent[] {
    let low = this.#first
    let high = this.#events.length
    while (low < high) {
      const middle = (low + high) >>> 1
      if (this.#events[middle]!.id <= after) low = middle + 1
      else high = middle
    }
    const batch: RunEvent[] = []
    for (let bytes = 0; low < this.#events.length && bytes < batchBytes; low++) {
      batch.push(this.#events[low]!)
      bytes += this.#events[low]!.json.length
    }
    return batch
  }

  /** Makes every reader look again. Each wait has a promise of its own: a lasting one would collect their reactions. */
  wake (): void {
    const wake = this.#wake
    this.#renew()
    wake()
  }

  #drop () {
    const { id, json } = this.#events[this.#first]!
    this.#events[this.#first++] = undefined as never
    this.#start = id
    this.#bytes -= sizeOf(json)
  }

  #renew () {
    this.#change = new Promise((resolve) => { this.#wake = resolve })
  }
}

function sizeOf (json: string): number {
  return json.length + overheadBytes
}
