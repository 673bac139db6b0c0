/** One event of a run; `id` is the position in the run's log just after it. */
export interface RunEvent {
  id: number
  event: string
  /** Its data, as JSON. */
  json: string
}

/** Events kept for readers that come late or are slow, in bytes. */
const keptBytes = 2 * 1024 * 1024
const batchBytes = 256 * 1024
/** What an event costs on top of its JSON. */
const overheadBytes = 120

/**
 * What a run has said, in order. Readers pull at their own pace, so a slow one holds up nobody; what it missed is told
 * to it as a gap.
 */
export class RunLog {
  readonly #events: RunEvent[] = []
  #first = 0
  #bytes = 0
  #gone = 0
  #ended = false
  #position = 0
  #wake: () => void = () => {}
  #change!: Promise<void>
  readonly #limit: number

  constructor (limit = keptBytes) {
    this.#limit = limit
    this.#renew()
  }

  get ended (): boolean {
    return this.#ended
  }

  /** Memory that its events take, about. */
  get bytes (): number {
    return this.#bytes
  }

  /** Adds an event that took `size` of the log: bytes of Claude's output, or 1 for an event of our own. */
  append (event: string, json: string, size = 1): void {
    this.#position += size
    this.#events.push({ id: this.#position, event, json })
    this.#bytes += sizeOf(json)
    while (this.#bytes > this.#limit && this.#first < this.#events.length - 1) this.#drop()
    if (this.#first > 1000) this.#first -= this.#events.splice(0, this.#first).length
    this.#changed()
  }

  /** Output that is no event still moves the position. */
  skip (size: number): void {
    this.#position += size
  }

  end (): void {
    this.#ended = true
    this.#changed()
  }

  /** Everything after a position, in batches, then what comes, until the log or the reader ends. */
  async * read (after: number, signal: AbortSignal): AsyncGenerator<RunEvent[]> {
    // Wakes the other readers for nothing, but keeps no promise around that collects one reaction per wait.
    const leave = () => { this.#changed() }
    signal.addEventListener('abort', leave, { once: true })
    try {
      for (let position = after; !signal.aborted;) {
        const batch = this.take(position)
        if (batch.length > 0) {
          position = batch.at(-1)!.id
          yield batch
        } else if (this.#ended) {
          return
        } else {
          await this.#change
        }
      }
    } finally {
      signal.removeEventListener('abort', leave)
    }
  }

  /** The next events after a position that are there now; a `gap` first when some are not any more. */
  take (after: number): RunEvent[] {
    const batch: RunEvent[] = []
    if (after < this.#gone) batch.push({ id: this.#gone, event: 'gap', json: JSON.stringify({ from: after, to: this.#gone }) })
    let bytes = 0
    const start = this.#indexAfter(Math.max(after, this.#gone))
    for (let index = start; index < this.#events.length && bytes < batchBytes; index++) {
      batch.push(this.#events[index]!)
      bytes += this.#events[index]!.json.length
    }
    return batch
  }

  #indexAfter (position: number): number {
    let low = this.#first
    let high = this.#events.length
    while (low < high) {
      const middle = (low + high) >>> 1
      if (this.#events[middle]!.id <= position) low = middle + 1
      else high = middle
    }
    return low
  }

  #drop () {
    const { id, json } = this.#events[this.#first++]!
    this.#gone = id
    this.#bytes -= sizeOf(json)
  }

  #changed () {
    const wake = this.#wake
    this.#renew()
    wake()
  }

  #renew () {
    this.#change = new Promise((resolve) => { this.#wake = resolve })
  }
}

function sizeOf (json: string): number {
  return json.length + overheadBytes
}
