import type { Sandbox } from 'modal'
import type { AppError } from '../../errors.js'
import type { Log } from '../../lib/log.js'
import { callModal, lookupMs } from '../modal/call.js'
import { decodeTags } from './tags.js'

const minute = 60_000
const terminateMs = minute
/** Longer than most outages; after that the reaper has to end it, as it is tagged as unfinished. */
const retriesMs = [1000, 5000, 15_000, minute, 2 * minute, 5 * minute]

/** Nothing else proves that it has ended. */
const gone = { notFound: 'SANDBOX_NOT_FOUND' } as const

/** A sandbox of a create request that has failed. */
interface Leftover {
  sandbox: Sandbox
  /** The request, as its tags name it. */
  request: string
  reason: 'late' | 'failed' | 'refused'
  log: Log
}

/**
 * Ends a sandbox that nobody was told of, unless a repeated request has adopted it: its tags name the request that
 * finishes it, and one that is ready may have been found by its key since. Never rejects. Resolves after the first
 * attempt; further ones follow in the background.
 */
export async function endLeftover (leftover: Leftover, attempt = 0): Promise<void> {
  const { sandbox, request, reason, log } = leftover
  const { sandboxId } = sandbox
  try {
    const record = decodeTags(await callModal('leftover tags', lookupMs, () => sandbox.getTags(), gone))
    const mayBeKnown = reason !== 'refused' && record?.preparing === undefined && record?.key !== undefined
    if (record?.request !== request || mayBeKnown) {
      return log.info({ sandboxId, reason }, 'sandbox was adopted by another request')
    }
    await callModal('leftover terminate', terminateMs, () => sandbox.terminate({ wait: true }), gone)
    log.info({ sandboxId, reason }, 'sandbox rolled back')
  } catch (err) {
    if ((err as AppError).code === 'SANDBOX_NOT_FOUND') return
    const delayMs = retriesMs[attempt]
    log.error({ sandboxId, reason, err, retryMs: delayMs }, 'sandbox could not be rolled back')
    if (delayMs !== undefined) setTimeout(() => { endLeftover(leftover, attempt + 1) }, delayMs).unref()
  }
}
