import type { Process } from '../container/types.js'

/**
 * Of what ended commands have printed, all of them together. Clients read while a command runs, or soon after; what is
 * kept for latecomers must not fill the disk, however many commands there were.
 */
const defaultLimit = 256 * 1024 * 1024

/** Keeps the output of ended commands by bytes; the oldest goes first. */
export class EndedOutput {
  readonly #limit: number
  /** Bytes of each, in the order of their ends. */
  readonly #bytes = new Map<Process, number>()
  #total = 0

  constructor (limit = defaultLimit) {
    this.#limit = limit
  }

  /** Counts the output of a process as soon as it is complete. */
  async keep (process: Process): Promise<void> {
    await process.drained
    const bytes = process.stdout.kept + process.stderr.kept
    this.#bytes.set(process, bytes)
    this.#total += bytes
    for (const [oldest] of this.#total > this.#limit ? this.#bytes : []) {
      if (this.#total <= this.#limit) break
      // A slow reader gets the rest, whoever else prints meanwhile.
      if (!oldest.stdout.isRead && !oldest.stderr.isRead) await this.forget(oldest)
    }
  }

  /** Removes the output of one process. */
  async forget (process: Process): Promise<void> {
    this.#total -= this.#bytes.get(process) ?? 0
    this.#bytes.delete(process)
    await process.discard()
  }
}
