import { spawn, type SpawnOptions } from 'node:child_process'

const loader = import.meta.resolve('tsx')

/**
 * Environment of a process that runs the project's files through another loader than tap does, also of what it starts:
 * keeps tap from measuring its coverage, because counts of positions that mean different lines would be added up.
 */
export const unmeasured = { _TAPJS_PROCESSINFO_COVERAGE_: '0' }

/** A TypeScript file in a process of its own. */
export function spawnNode (args: string[], { env = process.env, ...options }: SpawnOptions) {
  return spawn(process.execPath, ['--import', loader, ...args], {
    ...options, env: { ...env, ...unmeasured }
  })
}
