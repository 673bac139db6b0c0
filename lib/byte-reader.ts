/** Takes exact numbers of bytes from a stream of chunks. */
export class ByteReader {
  readonly #source: AsyncIterator<Uint8Array>
  #chunk: Buffer = Buffer.alloc(0)
  #ended = false

  constructor (source: AsyncIterable<Uint8Array>) {
    this.#source = source[Symbol.asyncIterator]()
  }

  /** Exactly `length` bytes, in memory of their own. @throws {EndOfStream} when there are fewer. */
  async take (length: number): Promise<Buffer> {
    const bytes = Buffer.allocUnsafeSlow(length)
    await this.fill(bytes)
    return bytes
  }

  /** @throws {EndOfStream} */
  async fill (target: Buffer): Promise<void> {
    for (let filled = 0; filled < target.length;) {
      if (this.#chunk.length === 0 && !await this.#more()) throw new EndOfStream()
      const copied = this.#chunk.copy(target, filled)
      this.#chunk = this.#chunk.subarray(copied)
      filled += copied
    }
  }

  /** The next bytes, at most `most` and valid until the next call; undefined at the end of the stream. */
  async some (most: number): Promise<Buffer | undefined> {
    if (this.#chunk.length === 0 && !await this.#more()) return
    const taken = this.#chunk.subarray(0, most)
    this.#chunk = this.#chunk.subarray(taken.length)
    return taken
  }

  /** @throws {EndOfStream} */
  async skip (length: number): Promise<void> {
    for (let left = length; left > 0;) {
      if (this.#chunk.length === 0 && !await this.#more()) throw new EndOfStream()
      const skipped = Math.min(left, this.#chunk.length)
      this.#chunk = this.#chunk.subarray(skipped)
      left -= skipped
    }
  }

  /** Skips zero bytes, up to the first other one. */
  async skipZeros (): Promise<void> {
    while (this.#chunk.length > 0 || await this.#more()) {
      const end = this.#chunk.findIndex((byte) => byte !== 0)
      this.#chunk = end === -1 ? Buffer.alloc(0) : this.#chunk.subarray(end)
      if (end !== -1) return
    }
  }

  /** The bytes up to a mark, which is skipped; undefined at the end. @throws {EndOfStream} when there is no mark. */
  async until (mark: string): Promise<Buffer | undefined> {
    const sought = Buffer.from(mark)
    for (let from = 0; ;) {
      const index = this.#chunk.indexOf(sought, from)
      if (index !== -1) {
        const found = this.#chunk.subarray(0, index)
        this.#chunk = this.#chunk.subarray(index + sought.length)
        return found
      }
      from = Math.max(0, this.#chunk.length - sought.length + 1)
      if (await this.#longer()) continue
      if (this.#chunk.length === 0) return
      throw new EndOfStream()
    }
  }

  /**
   * Calls `read` with the bytes that have arrived, and again with more of them, until it is done.
   * @param read returns how many of the bytes it took. @throws {EndOfStream}
   */
  async parse (read: (bytes: Buffer) => { taken: number, done: boolean }): Promise<void> {
    for (let over = false; !over;) {
      const { taken, done } = read(this.#chunk)
      this.#chunk = this.#chunk.subarray(taken)
      over = done
      if (!over && !await this.#longer()) throw new EndOfStream()
    }
  }

  /** Appends the next chunk to what is left. */
  async #longer (): Promise<boolean> {
    const before = this.#chunk
    if (!await this.#more()) return false
    if (before.length > 0) this.#chunk = Buffer.concat([before, this.#chunk])
    return true
  }

  async #more (): Promise<boolean> {
    while (!this.#ended) {
      const { done, value } = await this.#source.next()
      if (done) this.#ended = true
      else if (value.length > 0) {
        this.#chunk = Buffer.from(value.buffer, value.byteOffset, value.length)
        return true
      }
    }
    return false
  }
}

/** A stream ended in the middle of something. */
export class EndOfStream extends Error {
  constructor () {
    super('the stream ended early')
    this.name = 'EndOfStream'
  }
}
