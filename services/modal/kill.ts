import type { Sandbox } from 'modal'
import { runCommand } from './process.js'
import { loadScript } from './script.js'

export interface KillStage {
  signal: 'HUP' | 'INT' | 'TERM' | 'KILL'
  /** How long to wait for the processes to go before the next stage; tenths of a second count. */
  waitMs: number
}

const gracefulThenKill: readonly KillStage[] = [{ signal: 'TERM', waitMs: 1000 }, { signal: 'KILL', waitMs: 2000 }]

/** The function `clock`, for scripts that measure time. */
export const clockScript = loadScript(import.meta.url, 'clock.sh')
/** The function `end_processes`, with what it needs. */
export const endProcessesScript = clockScript + loadScript(import.meta.url, 'kill.sh')

/**
 * Modal has no call that kills an exec, so a second exec does it. Needs sh and grep in the image.
 * @param marker text in the environment of what has to go, such as `NAME=value`; several: one per line.
 * @returns whether nothing of it is left. @throws {AppError} SANDBOX_ENDED, MODAL_*.
 */
export async function killMarked (
  sandbox: Sandbox, marker: string, stages: readonly KillStage[] = gracefulThenKill
): Promise<boolean> {
  const argv = stages.flatMap(({ signal, waitMs }) => [signal, String(Math.ceil(waitMs / 100))])
  const timeoutMs = 15_000 + stages.reduce((sum, { waitMs }) => sum + 2 * waitMs, 0)
  const killer = ['sh', '-c', `${endProcessesScript}\nend_processes "$@"`, 'kill-marked', marker, ...argv]
  return (await runCommand(sandbox, 'kill', killer, { timeoutMs })).exitCode === 0
}
