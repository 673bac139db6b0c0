import { BufferPool } from '../../../lib/concurrency.js'

const mebibyte = 1024 * 1024
/** Larger files are sent and fetched in parts, of each of which all is in memory. */
export const defaultPartSize = 8 * mebibyte
/** S3 takes 10,000; a file may grow a little between its listing and its reading. */
const maxParts = 9000
/** Of a file whose bytes pass through the service. */
export const partsInFlight = 4

/** Of a file that the agent sends or fetches. */
export const agentPartsInFlight = 6
/** Files and objects, more than there are requests at once: every step in the sandbox takes a while. */
export const agentFilesInFlight = 128
/** Of small files, in the sandbox's memory. */
export const agentBytesInFlight = 32 * mebibyte
/** Each is in the sandbox's memory as a whole. */
export const agentPacksInFlight = 4
/** After so many files in a row that the agent could not transfer it is not asked for the others. */
export const maxAgentFailures = 8
/** How often the agent is given the same request before the service sends it itself. */
export const agentAttempts = 3

/** For fewer files the agent takes longer to start than it saves. */
export function isWorthAgent (files: { size: number }[]): boolean {
  return files.length >= 500 || files.reduce((sum, { size }) => sum + size, 0) >= 4 * mebibyte
}

/** Grows for files above 70 GiB; fewer of their parts are in memory at once. */
export function partSizeFor (size: number): number {
  return Math.max(defaultPartSize, Math.ceil(size / maxParts / mebibyte) * mebibyte)
}

export function partCount (size: number): number {
  return Math.ceil(size / partSizeFor(size))
}

/** Buffers for the parts of large files, allocated once for all files that have parts of the default size. */
export class PartBuffers {
  readonly #default = new BufferPool(defaultPartSize, partsInFlight)

  for (size: number): BufferPool {
    const partSize = partSizeFor(size)
    return partSize === defaultPartSize ? this.#default : new BufferPool(partSize, 2)
  }
}
