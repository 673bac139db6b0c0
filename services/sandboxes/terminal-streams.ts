/** Bytes of input that may wait for the sandbox; about as much as a terminal's own buffer holds. */
const waitingBytes = 65_536
/** Bytes of output that a viewer finds who comes back. */
const keptBytes = 256 * 1024

/** Input on its way into a sandbox: what comes while a write is under way goes with the next one. */
export class InputQueue implements AsyncIterable<Uint8Array> {
  #waiting: Uint8Array[] = []
  #bytes = 0
  #isEnded = false
  #wakeReader = () => {}
  #wakeWriters: Array<() => void> = []

  /** @returns resolves when more may come. */
  async push (bytes: Uint8Array): Promise<void> {
    if (this.#isEnded) return
    this.#waiting.push(bytes)
    this.#bytes += bytes.length
    this.#wakeReader()
    if (this.#bytes > waitingBytes) await new Promise<void>((resolve) => { this.#wakeWriters.push(resolve) })
  }

  end (): void {
    this.#isEnded = true
    this.#wakeReader()
    this.#releaseWriters()
  }

  async * [Symbol.asyncIterator] (): AsyncGenerator<Uint8Array> {
    for (;;) {
      if (this.#bytes === 0 && !this.#isEnded) await new Promise<void>((resolve) => { this.#wakeReader = resolve })
      if (this.#isEnded) return
      const bytes = Buffer.concat(this.#waiting)
      this.#waiting = []
      this.#bytes = 0
      this.#releaseWriters()
      yield bytes
    }
  }

  #releaseWriters () {
    for (const wake of this.#wakeWriters.splice(0)) wake()
  }
}

/** The end of a terminal's output, with the position of each byte in all of it. */
export class OutputTail {
  /** Twice as long as what is kept, so that it seldom has to be moved. */
  readonly #buffer = Buffer.alloc(2 * keptBytes)
  #used = 0
  /** The position after the last byte. */
  #end = 0

  add (bytes: Uint8Array): void {
    const added = bytes.subarray(-keptBytes)
    if (this.#used + added.length > this.#buffer.length) {
      this.#buffer.copyWithin(0, this.#used - keptBytes, this.#used)
      this.#used = keptBytes
    }
    this.#buffer.set(added, this.#used)
    this.#used += added.length
    this.#end += bytes.length
  }

  /** What came after the first `from` bytes, as far as it is kept; all of that if there never were so many. */
  since (from: number): { start: number, bytes: Uint8Array } {
    const first = this.#end - Math.min(this.#used, keptBytes)
    const start = from < first || from > this.#end ? first : from
    // A copy: the buffer goes on while it is sent.
    return { start, bytes: Buffer.from(this.#buffer.subarray(this.#used - (this.#end - start), this.#used)) }
  }
}

/** The longest first line that is waited for. */
const lineBytes = 200

/** Cuts the first line off a stream. */
export class FirstLine {
  /** Undefined until the line has come. */
  text: string | undefined
  #bytes = Buffer.alloc(0)

  /** @returns what follows the line. */
  cut (bytes: Uint8Array): Uint8Array {
    if (this.text !== undefined) return bytes
    this.#bytes = Buffer.concat([this.#bytes, bytes])
    const end = this.#bytes.indexOf('\n')
    if (end < 0 && this.#bytes.length < lineBytes) return new Uint8Array()
    this.text = this.#bytes.toString('latin1', 0, Math.max(end, 0)).trim()
    return this.#bytes.subarray(end + 1)
  }
}
