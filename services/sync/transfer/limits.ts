import { BufferPool } from './concurrency.js'

const mebibyte = 1024 * 1024
/** Files above it are sent and fetched in parts, in memory one at a time each. */
export const partSize = 8 * mebibyte
/** S3 takes 10,000; a file may grow a little while it is looked at. */
const mostParts = 9000
/** Of a file that passes through here; and of one that does not. */
export const partsInFlight = 4
export const agentPartsInFlight = 6
/** More at once does not make S3 faster, and costs memory. */
export const requestsInFlight = 32
/** So many files or objects in a row that can't go by a mover, and no more are tried. */
export const maxAgentFailures = 8
/** More than there are requests at once: every step there takes a while. */
export const agentFilesInFlight = 128

/** For less than that it takes longer to start a mover than to do without. */
export function isWorthAgent (files: { size: number }[]): boolean {
  return files.length >= 500 || files.reduce((sum, { size }) => sum + size, 0) >= 4 * mebibyte
}

/** Grows for files above 70 GiB: then fewer of them are in memory at once. */
export function partSizeFor (size: number): number {
  return Math.max(partSize, Math.ceil(size / mostParts / mebibyte) * mebibyte)
}

export function partCount (size: number): number {
  return Math.ceil(size / partSizeFor(size))
}

/** Buffers for the parts of large files, made once for all files that have parts of the usual size. */
export class PartBuffers {
  readonly #usual = new BufferPool(partSize, partsInFlight)

  for (size: number): BufferPool {
    const needed = partSizeFor(size)
    return needed === partSize ? this.#usual : new BufferPool(needed, 2)
  }
}
