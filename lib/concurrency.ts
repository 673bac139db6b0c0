/** Limits how much work goes on at a time, in number and in bytes. A single piece may have any size. */
export class Semaphore {
  readonly #maxCount: number
  readonly #maxBytes: number
  #running = 0
  #bytesInUse = 0
  readonly #waiting: (() => void)[] = []

  constructor (maxCount: number, maxBytes = Infinity) {
    this.#maxCount = maxCount
    this.#maxBytes = maxBytes
  }

  /** Resolves when `work` has started. Only {@link idle} waits for its end, so it must not reject. */
  async enter (bytes: number, work: () => Promise<void>): Promise<void> {
    while (this.#running > 0 && (this.#running >= this.#maxCount || this.#bytesInUse + bytes > this.#maxBytes)) {
      await new Promise<void>((resolve) => { this.#waiting.push(resolve) })
    }
    this.#running++
    this.#bytesInUse += bytes
    work().finally(() => {
      this.#running--
      this.#bytesInUse -= bytes
      for (const wake of this.#waiting.splice(0)) wake()
    })
  }

  async idle (): Promise<void> {
    while (this.#running > 0) await new Promise<void>((resolve) => { this.#waiting.push(resolve) })
  }
}

/**
 * Works on items side by side and yields the results in the order of the items.
 * @param maxCount,maxBytes limit what is under way or waits to be yielded.
 */
export async function * mapOrdered<T, R> (
  items: Iterable<T>, sizeOf: (item: T) => number, work: (item: T) => Promise<R>, maxCount: number, maxBytes: number
): AsyncGenerator<R> {
  const queue: { result: Promise<R>, size: number }[] = []
  const source = items[Symbol.iterator]()
  let bytesInUse = 0
  let next = source.next()
  while (true) {
    while (!next.done && queue.length < maxCount &&
      (queue.length === 0 || bytesInUse + sizeOf(next.value) <= maxBytes)) {
      const size = sizeOf(next.value)
      const result = work(next.value)
      // It is awaited later; until then a failure must not count as unhandled.
      result.catch(() => {})
      queue.push({ result, size })
      bytesInUse += size
      next = source.next()
    }
    const head = queue.shift()
    if (head === undefined) return
    yield await head.result
    bytesInUse -= head.size
  }
}

/** A fixed set of buffers, which limits how much memory large files take. */
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
