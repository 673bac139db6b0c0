import { S3Error } from '../s3/errors.js'
import { Semaphore } from './concurrency.js'
import { AgentUnavailable, LocalFileError } from './courier.js'
import { agentFilesInFlight, maxAgentFailures, partCount, agentPartsInFlight, partSize, partSizeFor } from './limits.js'

/** What of small files is in the sandbox' memory. */
const bytesAtOnce = 32 * 1024 * 1024

export interface AgentTransfers<T> {
  /** Moves one that fits into memory. @returns whether its fate is settled. */
  small (file: T): Promise<boolean>
  /** Moves one in parts. */
  large (file: T): Promise<boolean>
  /** It has met with what is no failure of S3. */
  failed (file: T, error: unknown): void
}

/** Moves small files side by side, large ones one after the other. @returns those that have to go another way. */
export async function transferAll<T extends { size: number }> (files: T[], moves: AgentTransfers<T>): Promise<T[]> {
  const left: T[] = []
  let failures = 0
  const attempt = async (file: T, move: (file: T) => Promise<boolean>) => {
    try {
      if (failures < maxAgentFailures && await move(file)) failures = 0
      else left.push(file)
    } catch (error) {
      left.push(file)
      if (error instanceof AgentUnavailable) failures = maxAgentFailures
      else if (error instanceof S3Error) failures++
      else if (!(error instanceof LocalFileError)) moves.failed(file, error)
    }
  }
  const small = async () => {
    const gate = new Semaphore(agentFilesInFlight, bytesAtOnce)
    for (const file of files.filter(({ size }) => size <= partSize)) {
      await gate.enter(file.size, async () => await attempt(file, (file) => moves.small(file)))
    }
    await gate.idle()
  }
  const large = async () => {
    for (const file of files.filter(({ size }) => size > partSize)) await attempt(file, (file) => moves.large(file))
  }
  await Promise.all([small(), large()])
  return left
}

/**
 * Moves the parts of a file side by side, and ends when none is under way any more.
 * @param move answers false when there is no use in more of them.
 * @returns whether all were moved. @throws what it throws.
 */
export async function transferParts (
  size: number, move: (index: number, start: number, length: number) => Promise<boolean>
): Promise<boolean> {
  const ofParts = partSizeFor(size)
  const gate = new Semaphore(agentPartsInFlight)
  let failure: { error: unknown } | undefined
  let goes = true
  for (let index = 0; index < partCount(size) && goes; index++) {
    await gate.enter(0, async () => {
      const start = index * ofParts
      try {
        if (!await move(index, start, Math.min(ofParts, size - start))) goes = false
      } catch (error) {
        failure ??= { error }
        goes = false
      }
    })
  }
  await gate.idle()
  if (failure !== undefined) throw failure.error
  return goes
}
