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
 * The latest events of a run, for readers who are close behind: from `start` on, in order. What is older is in the log.
 * Readers pull at their own pace, so a slow one holds up nobody.
 */
export class EventWindow {
  readonly #events: RunEvent[] = []
  #first = 0
  #bytes = 0
  #start: number
  #last: number
  #ended = false
  /** Whether it began with the log: what is not in it any more has been in it. */
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

  /** Memory that its events take, about. */
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
   * The next events after a position that is not before {@link start}. Readers that are equally far get the same array,
   * which has to be encoded only once for all of them.
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

  /** Lets every reader look again; for nothing, but no promise stays around that collects one reaction per wait. */
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
