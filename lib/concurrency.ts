/** Lets only so much work go on at a time, in number and in bytes; one piece of any size always may. */
export class Semaphore {
  readonly #most: number
  readonly #bytes: number
  #running = 0
  #held = 0
  readonly #waiting: (() => void)[] = []

  constructor (most: number, bytes = Infinity) {
    this.#most = most
    this.#bytes = bytes
  }

  /** Resolves when `work` may start; what it answers is awaited by {@link idle} only, so it must not reject. */
  async enter (bytes: number, work: () => Promise<void>): Promise<void> {
    while (this.#running > 0 && (this.#running >= this.#most || this.#held + bytes > this.#bytes)) {
      await new Promise<void>((resolve) => { this.#waiting.push(resolve) })
    }
    this.#running++
    this.#held += bytes
    work().finally(() => {
      this.#running--
      this.#held -= bytes
      for (const wake of this.#waiting.splice(0)) wake()
    })
  }

  async idle (): Promise<void> {
    while (this.#running > 0) await new Promise<void>((resolve) => { this.#waiting.push(resolve) })
  }
}

/**
 * Results in the order of the items, worked on side by side: at most `most` of them and `bytes` in all, those that wait
 * for their turn included.
 */
export async function * mapOrdered<T, R> (
  items: Iterable<T>, sizeOf: (item: T) => number, work: (item: T) => Promise<R>, most: number, bytes: number
): AsyncGenerator<R> {
  const queue: { result: Promise<R>, size: number }[] = []
  const source = items[Symbol.iterator]()
  let held = 0
  let next = source.next()
  while (true) {
    while (!next.done && queue.length < most && (queue.length === 0 || held + sizeOf(next.value) <= bytes)) {
      const size = sizeOf(next.value)
      const result = work(next.value)
      // Whoever takes it sees the failure; until then it must not count as unhandled.
      result.catch(() => {})
      queue.push({ result, size })
      held += size
      next = source.next()
    }
    const head = queue.shift()
    if (head === undefined) return
    yield await head.result
    held -= head.size
  }
}

/** A fixed set of buffers: what is in flight of large files never takes more. */
export class BufferPool {
  readonly #free: Buffer[] = []
  readonly #waiting: ((buffer: Buffer) => void)[] = []
  readonly #size: number
  #left: number

  constructor (size: number, count: number) {
    this.#size = size
    this.#left = count
  }

  async take (): Promise<Buffer> {
    const free = this.#free.pop()
    if (free !== undefined) return free
    if (this.#left > 0) {
      this.#left--
      return Buffer.allocUnsafeSlow(this.#size)
    }
    return await new Promise((resolve) => { this.#waiting.push(resolve) })
  }

  give (buffer: Buffer): void {
    const waiting = this.#waiting.shift()
    if (waiting === undefined) this.#free.push(buffer)
    else waiting(buffer)
  }
}
