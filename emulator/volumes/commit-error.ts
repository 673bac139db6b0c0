import { ContainerError } from '../container/types.js'
import { isNoSpace, noSpaceText } from '../lib/no-space.js'

/** What of a volume could not be committed: entries, each with the reason, or why nothing could. */
export interface CommitFailure { path: string, failures: string[], cause?: unknown }

/** Whether there was no space for it. */
export function isFull ({ failures, cause }: CommitFailure): boolean {
  return isNoSpace(cause) || failures.some((text) => /: (ENOSPC|EDQUOT)$/.test(text))
}

/** @param consequence the end of the sentence */
export function commitError (failed: CommitFailure[], consequence: string): ContainerError {
  const text = `not everything on ${failed.map(({ path }) => path).join(', ')} could be committed, ${consequence}`
  const cause = failed.find(({ cause }) => cause !== undefined)?.cause
  if (!failed.some(isFull)) return new ContainerError('failed', text, { cause })
  const full = Object.assign(new Error('a file could not be copied'), { code: 'ENOSPC' })
  return new ContainerError('no_space', `${noSpaceText}: ${text}`, { cause: isNoSpace(cause) ? cause : full })
}
