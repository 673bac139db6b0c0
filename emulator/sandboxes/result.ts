import type { ExitStatus } from '../container/types.js'
import { type GenericResult, resultStatus } from '../proto/messages.js'

/** Why the emulator ended what did not end by itself. */
export type EndReason = 'terminated' | 'timeout' | 'idle' | 'memory'

/** @param idleExitCode what an idle time-out ends with */
export function resultOf (reason: EndReason | undefined, status: ExitStatus, idleExitCode = 137): GenericResult {
  switch (reason) {
    case 'terminated':
      return { status: resultStatus.terminated, exitcode: 137, exception: 'Task terminated due to user request' }
    case 'timeout':
      return { status: resultStatus.timeout, exitcode: 124, exception: 'Sandbox reached its timeout' }
    case 'idle':
      return { status: resultStatus.idleTimeout, exitcode: idleExitCode, exception: 'Sandbox reached its idle timeout' }
    case 'memory':
      return { status: resultStatus.evicted, exitcode: 137, exception: 'Sandbox used more memory than its limit' }
    case undefined: {
      const exitcode = exitCode(status)
      return { status: exitcode === 0 ? resultStatus.success : resultStatus.failure, exitcode }
    }
  }
}

function exitCode (status: ExitStatus): number {
  return 'code' in status ? status.code : 128 + status.signal
}
