import { Semaphore } from '../../../lib/concurrency.js'
import { S3Error } from '../s3/errors.js'
import { AgentUnavailable, LocalFileError } from './agent.js'
import {
  agentBytesInFlight, agentFilesInFlight, agentPartsInFlight, defaultPartSize, maxAgentFailures, partCount, partSizeFor
} from './limits.js'

interface AgentTransfers<T> {
  /** Transfers a file as a whole. @returns false when the service has to transfer it. */
  small (file: T): Promise<boolean>
  /** Transfers a file in parts. @returns as `small`. */
  large (file: T): Promise<boolean>
  /** The transfer failed with an error that is neither S3's nor the agent's. */
  failed (file: T, error: unknown): void
}

/**
 * Has the agent transfer small files side by side, and large ones one after the other.
 * @returns those that the service has to transfer.
 */
export async function transferAll<T extends { size: number }> (files: T[], transfers: AgentTransfers<T>): Promise<T[]> {
  const left: T[] = []
  let failures = 0
  const attempt = async (file: T, transfer: (file: T) => Promise<boolean>) => {
    try {
      if (failures < maxAgentFailures && await transfer(file)) failures = 0
      else left.push(file)
    } catch (error) {
      left.push(file)
      if (error instanceof AgentUnavailable) failures = maxAgentFailures
      else if (error instanceof S3Error) failures++
      else if (!(error instanceof LocalFileError)) transfers.failed(file, error)
    }
  }
  const small = async () => {
    const semaphore = new Semaphore(agentFilesInFlight, agentBytesInFlight)
    for (const file of files.filter(({ size }) => size <= defaultPartSize)) {
      await semaphore.enter(file.size, async () => await attempt(file, (file) => transfers.small(file)))
    }
    await semaphore.idle()
  }
  const large = async () => {
    for (const file of files.filter(({ size }) => size > defaultPartSize)) {
      await attempt(file, (file) => transfers.large(file))
    }
  }
  await Promise.all([small(), large()])
  return left
}

/**
 * Transfers the parts of a file side by side. When it returns or throws none is under way any more.
 * @param transfer answers false when the other parts are of no use.
 * @returns whether all were transferred. @throws what `transfer` throws.
 */
export async function transferParts (
  size: number, transfer: (index: number, start: number, length: number) => Promise<boolean>
): Promise<boolean> {
  const partSize = partSizeFor(size)
  const semaphore = new Semaphore(agentPartsInFlight)
  let failure: { error: unknown } | undefined
  let isWanted = true
  for (let index = 0; index < partCount(size) && isWanted; index++) {
    await semaphore.enter(0, async () => {
      const start = index * partSize
      try {
        if (!await transfer(index, start, Math.min(partSize, size - start))) isWanted = false
      } catch (error) {
        failure ??= { error }
        isWanted = false
      }
    })
  }
  await semaphore.idle()
  if (failure !== undefined) throw failure.error
  return isWanted
}
