import { ContainerError } from '../container/types.js'
import { isNoSpace, noSpaceText } from '../lib/no-space.js'

/** What of a volume could not be committed: entries, each with the reason, or why nothing could. */
export interface CommitFailure { path: string, failures: string[], cause?: unknown }

/** @param consequence the end of the sentence */
export function commitError (failed: CommitFailure[], consequence: string): ContainerError {
  const paths = failed.map(({ path }) => path).join(', ')
  const isFull = failed.some(({ failures, cause }) => isNoSpace(cause) || failures.some((text) => /: (ENOSPC|EDQUOT)$/.test(text)))
  const cause = failed.find(({ cause }) => cause !== undefined)?.cause
  const text = `not everything on ${paths} could be committed, ${consequence}`
  return isFull
    ? new ContainerError('no_space', `${noSpaceText}: ${text}`, { cause: cause ?? noSpace() })
    : new ContainerError('failed', text, { cause })
}

function noSpace (): Error {
  return Object.assign(new Error('a file could not be copied'), { code: 'ENOSPC' })
}
